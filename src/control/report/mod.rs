//! What the control API says: the JSON of both its ends, and of every command's `--json`.

mod check;
mod fault;
mod overlay;
mod past;
mod policy;
mod reload;
mod rollout;
mod status;

pub use self::check::{Asked, CheckReport};
pub use self::fault::FaultReport;
pub use self::overlay::{OverlayOutcomeReport, OverlayReport, OverlaysReport};
pub use self::past::{DeniedReport, DeniedSource, DeniedToday, HistoryReport, LogReport, UnusedReport};
pub use self::policy::{GroupReport, ImageKeyReport, ImagesReport, PolicyReport, PolicyRule};
pub use self::reload::{
    AskedReport, AskedTopic, DryRunReport, FlipReport, KeptReport, PolicyHistoryReport, ReloadReport, ReplayReport,
};
pub use self::rollout::{GroupRollout, Lack, LackedName, RolloutReport};
pub use self::status::{ListenReport, RollbackReport, SignalReport, SignalsReport, State, StatusReport};
pub use crate::control::addition::Addition;
pub use crate::control::diff::{Change, Direction};
pub use crate::control::exception::ExceptionReport;
pub use crate::observe::history::{DeniedName, HistoryRow, Hour, ImageOfRow, RuleUse, Stats, Sum};
pub use crate::observe::numbers::{CacheNumbers, Numbers, ServerNumbers, UpstreamNumbers};
pub use crate::observe::pulls::Pull;
pub use crate::observe::recent::{LogEntry, RuleReport, VerdictWord};
pub use crate::policy::images::Badge;
