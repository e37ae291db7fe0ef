//! `pullgate.toml`: the file as written (`spec`) and the settings as run (`Settings`).
