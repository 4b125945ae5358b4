"""A hostile side of the wire: bytes of a fuzzer's choosing against the code that reads them, on either side."""
