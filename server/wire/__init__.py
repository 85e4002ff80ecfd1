"""Wire formats: values in, bytes out and back.  Pure: no input or output, no framework."""
