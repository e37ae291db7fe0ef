//! The other half of the walk: what a host wants to be shown is got from a token service, or from this user's credentials.

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::challenge::{self, Bearer};
use super::credentials::Credentials;
use super::journal::Step;
use super::network::{Ask, Reply};
use super::target::Target;
use super::token::{self, TokenAsk};
use super::walk::{MAX_HOPS, Stopped, Walker, redirect, status, unanswered};
use crate::policy::preset;

impl Walker<'_> {
    /// Gets what a host wants to be shown.
    pub(super) async fn authorize(&mut self, target: &Target, reply: &Reply) -> Result<(), Stopped> {
        let challenges = reply.texts(WWW_AUTHENTICATE);
        let challenges = challenge::parse(challenges.iter().map(String::as_str));
        let credentials = self.credentials(target).await;
        let value = match challenges.iter().find_map(|challenge| challenge.bearer(target)) {
            Some(Ok(bearer)) => format!("Bearer {}", self.token(&bearer, credentials).await?),
            Some(Err(fault)) => return Err(Stopped(format!("{target} names a token service that is none: {fault}"))),
            None if challenges.iter().any(|challenge| challenge.is("basic")) => {
                let basic = credentials.as_ref().and_then(Credentials::basic);
                basic.ok_or_else(|| Stopped(format!("{target} wants a user and a password, and there is none here")))?
            }
            None => return Err(Stopped(format!("{target} wants to be shown something that is not known here"))),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| Stopped(format!("{target}: no proper token")))?;
        value.set_sensitive(true);
        self.sessions.insert(target.origin(), value);
        Ok(())
    }

    async fn credentials(&mut self, target: &Target) -> Option<Credentials> {
        let is_registry = self.target("").is_ok_and(|registry| registry.origin() == target.origin());
        let key = if is_registry { self.wanted.image.host().to_owned() } else { target.authority() };
        let found = self.keyring.find(&key).await;
        if let Some(helper) = &found.helper {
            self.remark(helper_note(helper));
        }
        if let Some(trouble) = found.trouble {
            self.remark(trouble);
        }
        if found.credentials.is_some() && !target.is_tls() && !self.network.is_here(target.host()).await {
            self.remark(format!("{target} is not shown the credentials for it: it has no TLS"));
            return None;
        }
        found.credentials
    }

    /// A token for the image, from the service that a registry names.
    async fn token(&mut self, bearer: &Bearer, credentials: Option<Credentials>) -> Result<String, Stopped> {
        if let Some(Credentials::RegistryToken(token)) = credentials {
            return Ok(token);
        }
        let is_safe = bearer.realm.is_tls() || self.network.is_here(bearer.realm.host()).await;
        if credentials.is_some() && !is_safe {
            self.remark(format!("{} is not shown credentials: it has no TLS", bearer.realm));
        }
        let credentials = credentials.filter(|_| is_safe);
        let access = if self.wanted.push { "pull,push" } else { "pull" };
        let scope = format!("repository:{}:{access}", self.wanted.image.repository);
        let mut last = String::new();
        for ask in token::asks(bearer, &scope, credentials.as_ref()) {
            let reply = self.ask_for_token(&ask).await?;
            match token::read(&reply.body).filter(|_| reply.status.is_success()) {
                Some(token) => return Ok(token),
                None => last = status(&reply),
            }
        }
        let who = if credentials.is_some() { "with these credentials" } else { "without credentials" };
        Err(Stopped(format!("{} gives no token {who}: it answers {last}", bearer.realm)))
    }

    async fn ask_for_token(&mut self, wanted: &TokenAsk) -> Result<Reply, Stopped> {
        let mut ask = Ask { method: Method::GET, headers: HeaderMap::new(), body: Bytes::new(), reads: MAX_TOKEN };
        if let Some(form) = &wanted.form {
            ask.method = Method::POST;
            ask.body = Bytes::from(form.clone());
            ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let mut target = wanted.target.clone();
        for _ in 0..=MAX_HOPS {
            let authorization = wanted.authorization.as_deref().filter(|_| target.origin() == wanted.target.origin());
            ask.headers.remove(AUTHORIZATION);
            if let Some(mut value) = authorization.and_then(|value| HeaderValue::from_str(value).ok()) {
                value.set_sensitive(true);
                ask.headers.insert(AUTHORIZATION, value);
            }
            let reply = self.send(Step::Token, &target, &ask).await.map_err(|error| unanswered(&target, &error))?;
            match redirect(&target, &reply)? {
                // A form is for whom it was made for.
                Some(next) if wanted.form.is_none() => target = next,
                _ => return Ok(reply),
            }
        }
        Err(Stopped(format!("more than {MAX_HOPS} redirects from {}", wanted.target)))
    }
}

/// A helper resolves names of its own, which are not seen here.
fn helper_note(helper: &str) -> String {
    match preset::find(helper) {
        Some(preset) => {
            format!("{helper} was asked for credentials: the hosts it needs are the preset `{}`", preset.id)
        }
        None => format!("{helper} was asked for credentials: which hosts it needs is not seen here"),
    }
}

/// Tokens with many groups in them have some kilobytes.
const MAX_TOKEN: usize = 256 * 1024;
