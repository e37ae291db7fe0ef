//! Where this user's credentials are: the files and variables of Docker and podman, and the helpers they name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::credentials::{Credentials, DockerConfig, HelperName, Source};

/// The credentials of a user.
#[derive(Default)]
pub struct Keyring {
    configs: Vec<DockerConfig>,
    /// Where helpers are looked for; `None`: where this program's are.
    path: Option<OsString>,
}

/// What there is for a registry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The credentials.
    pub(super) credentials: Option<Credentials>,
    /// The helper that was asked.
    pub(super) helper: Option<String>,
    /// Why a helper that should know did not say.
    pub(super) trouble: Option<String>,
}

impl Keyring {
    /// From the variables of an environment, in Docker's order, podman's file last. Says which files cannot be read.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> (Self, Vec<String>) {
        let mut texts = Vec::new();
        let mut troubles = Vec::new();
        if let Some(text) = variable("DOCKER_AUTH_CONFIG") {
            texts.push(("DOCKER_AUTH_CONFIG".to_owned(), text.to_string_lossy().into_owned()));
        }
        for file in files(&variable) {
            let place = file.display().to_string();
            match read(&file) {
                Ok(text) => texts.extend(text.map(|text| (place, text))),
                Err(error) => troubles.push(format!("{place}: {error}")),
            }
        }
        let mut configs = Vec::new();
        for (place, text) in texts {
            match DockerConfig::parse(&text) {
                Ok(config) => configs.push(config),
                Err(fault) => troubles.push(format!("{place}: {fault}")),
            }
        }
        (Self { configs, path: None }, troubles)
    }

    /// The same with its helpers in another folder.
    #[cfg(test)]
    pub(super) fn with_helpers_in(self, path: impl Into<OsString>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// The credentials of a registry, which is what people type for it, with its port.
    pub(super) async fn find(&self, registry: &str) -> Found {
        let mut found = Found::default();
        for source in self.configs.iter().filter_map(|config| config.source(registry)) {
            match source {
                Source::Stored(credentials) => found.credentials = Some(credentials.clone()),
                Source::Helper(helper, server) => {
                    found.helper = Some(helper.program());
                    match self.ask(helper, &server).await {
                        Ok(credentials) => found.credentials = credentials,
                        Err(why) => found.trouble = Some(format!("{}: {why}", helper.program())),
                    }
                }
            }
            if found.credentials.is_some() {
                break;
            }
        }
        found
    }

    /// Asks a helper, as Docker does: the server on its standard input, JSON on its standard output.
    async fn ask(&self, helper: &HelperName, server: &str) -> Result<Option<Credentials>, String> {
        let mut command = Command::new(helper.program());
        command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let answered = timeout(HELPER_TIME, converse(command, server)).await;
        let (is_success, answer) = match answered {
            Err(_elapsed) => return Err(format!("no answer within {}", humantime::format_duration(HELPER_TIME))),
            Ok(Err(error)) => return Err(error.to_string()),
            Ok(Ok(answer)) => answer,
        };
        match is_success {
            true => Credentials::of_helper(&answer).map_err(|fault| fault.to_string()),
            // That it has none for a server is a failure to a helper.
            false if answer.contains("not found") => Ok(None),
            false => Err("it fails".to_owned()),
        }
    }
}

async fn converse(mut command: Command, server: &str) -> std::io::Result<(bool, String)> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that wants to hear nothing may close it.
        let _ = stdin.write_all(format!("{server}\n").as_bytes()).await;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_FILE).read_to_end(&mut answer).await?;
    }
    let status = child.wait().await?;
    Ok((status.success(), String::from_utf8_lossy(&answer).into_owned()))
}

/// Docker's settings, then podman's credentials.
fn files(variable: &impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = folder("DOCKER_CONFIG").or_else(|| folder("HOME").map(|home| home.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    let podman = folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    docker.into_iter().chain(podman).collect()
}

fn read(file: &Path) -> std::io::Result<Option<String>> {
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_FILE => return Err(std::io::Error::other("too large")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    std::fs::read_to_string(file).map(Some)
}

/// A helper may ask its cloud; one that waits for somebody to type is not waited for.
const HELPER_TIME: Duration = Duration::from_secs(20);
const MAX_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Where `docker-credential-lab` is.
    const HELPERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/helpers:/usr/bin:/bin");

    fn keyring(config: &str) -> Keyring {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let path = folder.path().as_os_str().to_owned();
        let (keyring, troubles) = Keyring::of(|name| (name == "DOCKER_CONFIG").then(|| path.clone()));
        assert_eq!(troubles, [""; 0]);
        keyring.with_helpers_in(HELPERS)
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_the_registry() {
        let keyring = keyring(r#"{"credHelpers":{"r.example":"lab"},"credsStore":"lab"}"#);
        let found = keyring.find("r.example").await;
        let expected = Credentials::Password { user: "r.example".to_owned(), password: "from the helper".to_owned() };
        assert_eq!(found.credentials, Some(expected));
        assert_eq!(found.helper.as_deref(), Some("docker-credential-lab"));
        let token = keyring.find("token.example").await.credentials;
        assert_eq!(token, Some(Credentials::IdentityToken("an identity".to_owned())));
        let nothing = keyring.find("unknown.example").await;
        assert_eq!((nothing.credentials, nothing.trouble), (None, None));
    }

    #[tokio::test]
    async fn a_helper_that_fails_or_is_not_there_is_told_of_without_what_it_said() {
        let failing = keyring(r#"{"credsStore":"lab"}"#).find("broken.example").await;
        assert_eq!(failing.trouble.as_deref(), Some("docker-credential-lab: it fails"));
        let missing = keyring(r#"{"credsStore":"nowhere"}"#).find("r.example").await;
        assert!(missing.trouble.unwrap().starts_with("docker-credential-nowhere: "));
    }

    #[test]
    fn files_that_cannot_be_read_are_told_of() {
        let (_, troubles) = Keyring::of(|name| (name == "DOCKER_AUTH_CONFIG").then(|| "hunter2".into()));
        assert_eq!(troubles, ["DOCKER_AUTH_CONFIG: it is no JSON of the shape that Docker writes"]);
        let (keyring, troubles) = Keyring::of(|_| None);
        assert_eq!((keyring.configs.len(), troubles.len()), (0, 0));
    }
}
