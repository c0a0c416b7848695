"""Will this member take this action on this item? One text model for every surface; a surface is a file."""
