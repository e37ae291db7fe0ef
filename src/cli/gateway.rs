//! `pullgate gateway`: runs the gateway as a process of its own.

use super::failure::Failure;
use super::options::{Loaded, Options};
use super::output::Output;
use super::{Outcome, serve};
use crate::config::Environment;
use crate::daemon::Role;

/// Run the image gateway as a process of its own
///
/// Registries with `path = "pass"` or `path = "inspect"` are reached through it: `pullgate serve`
/// answers their names with its address. With `separate = true` in [gateway] it runs under its own
/// user, so that a defect in what reads TLS and HTTP takes neither the resolver down nor its rights.
/// While it is down, those registries cannot be reached; all others can.
///
/// It reads the same settings and the same policy, and takes a changed policy as `serve` does. Its
/// state, control socket and metrics are its own: /var/lib/pullgate-gateway, /run/pullgate-gateway
/// (systemd's folders, where it gives some), and `metrics` of [gateway].
///
/// Examples:
///   pullgate gateway --config /etc/pullgate/pullgate.toml
///   pullgate log --follow --socket /run/pullgate-gateway/control.sock
///
/// Exit codes:
///   0   stopped as told
///   69  a port or the control socket is taken
///   74  reading or writing failed
///   78  the settings are faulty, or have no gateway that runs by itself
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

pub(super) fn run(options: &Options, output: &mut Output) -> Outcome {
    let mut loaded = options.settings()?;
    own_things(&mut loaded, options)?;
    serve::run_as(Role::Gateway, &loaded, output)
}

/// Gives the process its own state, socket and metrics: those of the settings are the resolver's, as is the log's file.
fn own_things(loaded: &mut Loaded, options: &Options) -> Result<(), Failure> {
    let settings = &mut loaded.settings;
    let Some(gateway) = settings.gateway.as_ref() else {
        return Err(no_gateway("the settings have no gateway", "write `[gateway]` with its `address`"));
    };
    if !gateway.separate {
        let hint = "write `separate = true` into [gateway] for a process of its own";
        return Err(no_gateway("the gateway is part of `pullgate serve`", hint));
    }
    settings.metrics = gateway.metrics;
    settings.page = None;
    // The file is the resolver's user's; who reads dnstap waits for questions.
    (settings.log.file, settings.dnstap) = (None, None);
    let environment = Environment::of_process();
    settings.policy.state = environment.gateway_state();
    if !options.names_socket() {
        settings.control.socket = environment.gateway_socket();
    }
    Ok(())
}

fn no_gateway(message: &str, hint: &str) -> Failure {
    Failure::Settings { message: message.to_owned(), hint: Some(hint.to_owned()) }
}
