//! The certificates that inspected connections are shown: one a name, made when first asked for, renewed before it ends.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;

use super::authority::{Authority, AuthorityError};
use crate::name::DomainName;

/// The certificates in use.
pub(super) struct Leaves {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    authority: Option<Arc<Authority>>,
    /// When the folder was last looked at, and when something had come into it or gone from it then.
    looked: Option<(SystemTime, Option<SystemTime>)>,
    configs: HashMap<DomainName, Held>,
}

/// A configuration with its certificate.
struct Held {
    config: Arc<ServerConfig>,
    renew_at: SystemTime,
    expires: SystemTime,
    /// When another was last tried for.
    tried: SystemTime,
}

/// Why a name has no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeafError {
    /// The authority has none for it.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// rustls takes it not.
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl Leaves {
    /// Of the authority in `folder`, which is read when a certificate is first needed: it may be made later, and another
    /// pair may be added at any time.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, state: Mutex::default() }
    }

    /// The configuration with which a connection for `name` is taken. Blocks for some file I/O when a certificate has to
    /// be made. While a new one cannot be had, the one before serves until it ends.
    ///
    /// # Errors
    /// There is no certificate for the name.
    pub(super) fn config(&self, name: &DomainName, now: SystemTime) -> Result<Arc<ServerConfig>, LeafError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut state, now);
        if let Some(held) = state.configs.get(name).filter(|held| held.is_fresh(now)) {
            return Ok(Arc::clone(&held.config));
        }
        match self.issue(&mut state, name, now) {
            Ok(held) => {
                if state.configs.len() >= MAX_NAMES {
                    state.configs.retain(|_, held| held.is_fresh(now));
                }
                let config = Arc::clone(&held.config);
                if state.configs.len() < MAX_NAMES {
                    state.configs.insert(name.clone(), held);
                }
                Ok(config)
            }
            Err(error) => match state.configs.get_mut(name).filter(|held| now < held.expires) {
                Some(held) => {
                    tracing::warn!(%name, %error, "the gateway's certificate cannot be renewed; the one before still serves");
                    held.tried = now;
                    Ok(Arc::clone(&held.config))
                }
                None => Err(error),
            },
        }
    }

    fn issue(&self, state: &mut State, name: &DomainName, now: SystemTime) -> Result<Held, LeafError> {
        let leaf = self.authority(state, now)?.issue(name, now)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(leaf.chain, leaf.key)?;
        // Engines speak HTTP/1.1 when nobody offers more, and only there is a reason phrase for people to read.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Held { config: Arc::new(config), renew_at: leaf.renew_at, expires: leaf.expires, tried: now })
    }

    /// Forgets the authority, and what it has signed, when its folder has changed: a pair that was taken away, or replaced
    /// because its key got out, is not used for another connection.
    fn look(&self, state: &mut State, now: SystemTime) {
        let is_recent = |looked: SystemTime| now.duration_since(looked).is_ok_and(|age| age < FOLDER_AGE);
        if state.looked.is_some_and(|(looked, _)| is_recent(looked)) {
            return;
        }
        let changed = std::fs::metadata(&self.folder).and_then(|folder| folder.modified()).ok();
        if state.looked.is_some_and(|(_, before)| before != changed) {
            state.authority = None;
            state.configs.values_mut().for_each(Held::outdate);
        }
        state.looked = Some((now, changed));
    }

    /// The authority as its folder was when it last changed.
    fn authority(&self, state: &mut State, now: SystemTime) -> Result<Arc<Authority>, LeafError> {
        if let Some(authority) = &state.authority {
            return Ok(Arc::clone(authority));
        }
        let authority = Arc::new(Authority::load(&self.folder, now)?);
        state.authority = Some(Arc::clone(&authority));
        Ok(authority)
    }
}

impl Held {
    /// Has another tried for at once.
    fn outdate(&mut self) {
        (self.renew_at, self.tried) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
    }

    /// Whether it serves without a look for another; one that could not be renewed is tried again a while later.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let tried_just_now = now.duration_since(self.tried).is_ok_and(|passed| passed < RETRY) && now < self.expires;
        now < self.renew_at || (self.tried >= self.renew_at && tried_just_now)
    }
}

/// How often the folder is looked at, while connections come.
const FOLDER_AGE: Duration = Duration::from_secs(1);
/// How long a renewal that failed is left alone.
const RETRY: Duration = Duration::from_secs(60);
/// Inspected names are written in policies, or are matched by wildcards there: a client that makes up names under one is
/// given certificates, but none that are kept.
const MAX_NAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_authority_there_is_no_certificate_and_one_made_later_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca");
        let leaves = Leaves::new(path.clone());
        let name = "ghcr.io".parse().unwrap();
        let now = SystemTime::now();
        assert!(leaves.config(&name, now).is_err());
        crate::gateway::testing::authority(&path, &["ghcr.io"]);
        let first = leaves.config(&name, now).unwrap();
        assert!(Arc::ptr_eq(&first, &leaves.config(&name, now).unwrap()), "made once");
        assert!(leaves.config(&"quay.io".parse().unwrap(), now).is_err(), "outside its constraints");
    }

    #[test]
    fn what_a_pair_signed_that_is_no_longer_there_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca");
        let pair = || std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
        crate::gateway::testing::authority(&path, &["ghcr.io"]);
        let old = pair();
        let leaves = Leaves::new(path.clone());
        let name = "ghcr.io".parse().unwrap();
        let now = SystemTime::now();
        let first = leaves.config(&name, now).unwrap();
        crate::gateway::testing::authority(&path, &["ghcr.io"]);
        for file in old {
            std::fs::remove_file(file).unwrap();
        }
        let second = leaves.config(&name, now + FOLDER_AGE).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &leaves.config(&name, now + 2 * FOLDER_AGE).unwrap()), "and then kept");
    }

    #[test]
    fn a_certificate_is_renewed_before_it_ends_and_serves_to_its_end_when_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca");
        crate::gateway::testing::authority(&path, &["ghcr.io"]);
        let leaves = Leaves::new(path.clone());
        let name: DomainName = "ghcr.io".parse().unwrap();
        let now = SystemTime::now();
        let first = leaves.config(&name, now).unwrap();
        let (renew_at, expires) = {
            let state = leaves.state.lock().unwrap();
            (state.configs[&name].renew_at, state.configs[&name].expires)
        };
        let second = leaves.config(&name, renew_at).unwrap();
        assert!(!Arc::ptr_eq(&first, &second), "renewed while the first is still good");
        std::fs::remove_dir_all(&path).unwrap();
        let later = renew_at + renew_at.duration_since(now).unwrap();
        assert!(later > expires - Duration::from_secs(60 * 60) || leaves.config(&name, later).is_ok());
        assert!(leaves.config(&name, expires + expires.duration_since(now).unwrap()).is_err());
    }
}
