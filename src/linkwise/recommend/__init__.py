"""What will this user choose next: recommenders under one protocol, one file for each."""
