//! The targets: the subcommands of `setup`.

use clap::Args;
use serde::Serialize;

use super::{
    buildkit, ca, colima, containerd, docker, kubernetes, libvirt, lima, networkmanager, podman, rancher_desktop,
    redirect, resolv_conf, resolved, wsl,
};
use crate::inspect::machine::Machine;
use crate::inspect::setup::{Plan, Request, SetupFault};

/// Names every target once: its variant and the type of its own options.
macro_rules! targets {
    ($($variant:ident($arguments:ty),)*) => {
        /// What to set up.
        #[derive(Debug, clap::Subcommand)]
        pub(super) enum Target {
            $(#[command(name = <$arguments as Arguments>::NAME)] $variant($arguments),)*
        }

        impl Target {
            /// Its name, as the command line and the record have it.
            pub(super) fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$arguments as Arguments>::NAME,)* }
            }

            /// What has to change on a machine.
            pub(super) fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault> {
                match self { $(Self::$variant(arguments) => arguments.plan(machine, request),)* }
            }
        }

        /// Every target, with what of it a machine has.
        pub(super) fn overview(machine: &Machine) -> Vec<TargetReport> {
            vec![$(TargetReport::of::<$arguments>(machine),)*]
        }
    };
}

targets! {
    Docker(docker::Arguments),
    ResolvConf(resolv_conf::Arguments),
    Resolved(resolved::Arguments),
    NetworkManager(networkmanager::Arguments),
    Wsl(wsl::Arguments),
    Containerd(containerd::Arguments),
    Podman(podman::Arguments),
    Buildkit(buildkit::Arguments),
    Kubernetes(kubernetes::Arguments),
    Libvirt(libvirt::Arguments),
    Lima(lima::Arguments),
    Colima(colima::Arguments),
    RancherDesktop(rancher_desktop::Arguments),
    Redirect(redirect::Arguments),
    Ca(ca::Arguments),
}

/// The options of one target, and where it is planned.
pub(super) trait Arguments: Args {
    /// Its name on the command line.
    const NAME: &'static str;

    /// What of a machine it is for, in a few words; `None` where there is nothing.
    fn found(machine: &Machine) -> Option<String>;

    /// What has to change on a machine.
    fn plan(&self, machine: &Machine, request: &Request) -> Result<Plan, SetupFault>;
}

/// A target of `pullgate setup --json`.
#[derive(Debug, Serialize)]
pub(super) struct TargetReport {
    /// Its name on the command line.
    pub(super) target: &'static str,
    /// What of it this machine has; `null` if nothing.
    pub(super) found: Option<String>,
    /// What it does, in a line.
    pub(super) about: String,
}

impl TargetReport {
    fn of<T: Arguments>(machine: &Machine) -> Self {
        let command = T::augment_args(clap::Command::new(T::NAME));
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        Self { target: T::NAME, found: T::found(machine), about }
    }
}
