"""What ``isopod demo`` shows: real frameworks and real files, in environments that this machine builds for them."""
