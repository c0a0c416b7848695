"""Files in, validated records out; splits and simulators."""
