//! The commands: arguments in, text or JSON out; one file a command.
