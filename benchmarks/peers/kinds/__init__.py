"""One file a peer: a class ``Peer``, made with the options of its row. Each imports its library late, as it starts."""
