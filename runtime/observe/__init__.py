"""Where the time goes: the phases of a call, and the recording of calls and workers as a trace."""
