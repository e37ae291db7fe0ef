//! The file: a B-tree of rows by hour, and one of rules, in redb: what is committed is on disk, whole or not at all.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadableTable, ReadableTableMetadata, TableDefinition};
use tracing::warn;

use super::HistoryError;
use super::pending::{Pending, Times, Topic};
use super::report::{self, HistoryRow};
use crate::observe::pulls::Pull;
use crate::observe::recent::VerdictWord;
use crate::observe::rule_hits::{RuleKey, RuleKind};

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    /// `None`: it was damaged, and a new one could not be begun.
    database: Option<Database>,
    path: PathBuf,
    began: u64,
}

/// What the file system or the file itself says.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The library's own word.
    #[error(transparent)]
    Database(Box<redb::Error>),
    /// The folder cannot be made, or a damaged file not be put aside.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no file: a damaged one was put aside, and another could not be begun.
    #[error("a new one could not be begun")]
    Absent,
}

/// The library has a type of error for each kind of step.
macro_rules! from_library {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}

from_library!(DatabaseError, TransactionError, TableError, StorageError, CommitError, CompactionError);

impl StoreError {
    /// Whether the file is not what was written.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) => {
                matches!(
                    **error,
                    redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted
                )
            }
            Self::Io(_) | Self::Absent => false,
        }
    }
}

impl Store {
    /// Opens the file or begins it. One that is damaged is put aside.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match open(path) {
            Ok((database, began)) => Ok(Self { database: Some(database), path: path.to_owned(), began }),
            Err(Opening::Damaged(reason)) => {
                put_aside(path, &reason)?;
                let (database, began) = open(path).map_err(Opening::into_error)?;
                Ok(Self { database: Some(database), path: path.to_owned(), began })
            }
            Err(other) => Err(other.into_error()),
        }
    }

    /// Puts the damaged file aside and begins a new one.
    pub(super) fn begin_anew(&mut self, path: &Path) {
        self.database = None;
        match Self::open(path) {
            Ok(store) => *self = store,
            Err(error) => warn!(%error, path = %path.display(), "no new history could be begun"),
        }
    }

    /// When it began, in Unix time.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// Adds what is pending, and removes what is from before `oldest`, or too much for `size` bytes. The notes about rows
    /// that there are none of yet come back.
    pub(super) fn write(
        &mut self,
        pending: &Pending,
        oldest: u64,
        size: u64,
    ) -> Result<Vec<(Topic, Pull)>, StoreError> {
        let mut unmatched = Vec::new();
        let transaction = self.database()?.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            for (topic, times) in &pending.rows {
                add_row(&mut rows, topic, *times)?;
            }
            for (topic, pull) in &pending.pulls {
                if !note_pull(&mut rows, topic, pull)? {
                    unmatched.push((topic.clone(), pull.clone()));
                }
            }
            rows.retain_in((0, "")..(hour_number(oldest / 3600), ""), |_, _| false)?;
            let mut rules = transaction.open_table(RULES)?;
            for (rule, times) in &pending.rules {
                add_rule(&mut rules, rule, *times)?;
            }
        }
        transaction.commit()?;
        self.keep_within(size)?;
        Ok(unmatched)
    }

    /// Has `read` see every row from `since` on, oldest hour first.
    pub(super) fn each_row(&self, since: u64, mut read: impl FnMut(HistoryRow)) -> Result<(), HistoryError> {
        self.each(since, &mut read).map_err(HistoryError::Read)
    }

    fn each(&self, since: u64, read: &mut impl FnMut(HistoryRow)) -> Result<(), StoreError> {
        let transaction = self.database()?.begin_read()?;
        let rows = transaction.open_table(ROWS)?;
        for row in rows.range((hour_number(since / 3600), "")..)? {
            let (key, value) = row?;
            let ((hour, topic), (count, first, last, after)) = (key.value(), value.value());
            if last >= since
                && let Some(row) = row_of(hour, topic, Times { count, first, last }, after)
            {
                read(row);
            }
        }
        Ok(())
    }

    /// When each rule was last hit, in Unix time.
    pub(super) fn rules(&self) -> Result<Vec<(RuleKey, u64)>, StoreError> {
        let transaction = self.database()?.begin_read()?;
        let rules = transaction.open_table(RULES)?;
        let mut found = Vec::new();
        for rule in rules.iter()? {
            let (key, value) = rule?;
            let (_, _, last) = value.value();
            found.extend(rule_of(key.value()).map(|key| (key, last)));
        }
        Ok(found)
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or(StoreError::Absent)
    }

    /// Removes the oldest rows while the file is larger than half of `size`: it grows by doubling, and so never beyond
    /// `size`.
    fn keep_within(&mut self, size: u64) -> Result<(), StoreError> {
        for _ in 0..MAX_PRUNINGS {
            if fs::metadata(&self.path)?.len() <= size / 2 {
                break;
            }
            let database = self.database.as_mut().ok_or(StoreError::Absent)?;
            let is_empty = prune(database)?;
            while database.compact()? {}
            if is_empty {
                break;
            }
        }
        Ok(())
    }
}

/// Removes the oldest quarter of the rows, in whole hours; of rules what was hit longest ago. Whether nothing is left.
fn prune(database: &Database) -> Result<bool, StoreError> {
    let transaction = database.begin_write()?;
    let is_empty = {
        let mut rows = transaction.open_table(ROWS)?;
        let quarter = usize::try_from(rows.len()? / 4).unwrap_or(usize::MAX);
        let last = rows.iter()?.nth(quarter).transpose()?.map(|(key, _)| key.value().0);
        if let Some(hour) = last {
            rows.retain_in((0, "")..(hour.saturating_add(1), ""), |_, _| false)?;
        }
        let mut rules = transaction.open_table(RULES)?;
        if rules.len()? > MAX_RULES {
            let mut moments: Vec<u64> = Vec::new();
            for rule in rules.iter()? {
                moments.push(rule?.1.value().2);
            }
            moments.sort_unstable();
            let median = moments[moments.len() / 2];
            rules.retain(|_, (_, _, last)| last > median)?;
        }
        rows.is_empty()?
    };
    transaction.commit()?;
    Ok(is_empty)
}

/// Why a file could not be opened.
enum Opening {
    Failed(StoreError),
    Damaged(String),
}

impl Opening {
    fn into_error(self) -> StoreError {
        match self {
            Self::Failed(error) => error,
            Self::Damaged(reason) => StoreError::Io(io::Error::new(io::ErrorKind::InvalidData, reason)),
        }
    }
}

impl From<StoreError> for Opening {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Database(inner) => match &**inner {
                redb::Error::Io(io) if io.kind() != io::ErrorKind::InvalidData => Self::Failed(error),
                redb::Error::DatabaseAlreadyOpen => Self::Failed(error),
                _ => Self::Damaged(error.to_string()),
            },
            StoreError::Io(_) | StoreError::Absent => Self::Failed(error),
        }
    }
}

/// The file's database, with its tables, and when it began. The library panics on some damage: that counts as damage.
fn open(path: &Path) -> Result<(Database, u64), Opening> {
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<(Database, u64), StoreError> {
        let database = Builder::new().set_cache_size(CACHE).create(path)?;
        let transaction = database.begin_write()?;
        let began = {
            transaction.open_table(ROWS)?;
            transaction.open_table(RULES)?;
            let mut about = transaction.open_table(ABOUT)?;
            let known = about.get("began")?.map(|began| began.value());
            let began = known.unwrap_or_else(|| super::seconds(std::time::SystemTime::now()));
            about.insert("began", began)?;
            began
        };
        transaction.commit()?;
        Ok((database, began))
    }));
    match opened {
        Ok(opened) => opened.map_err(Opening::from),
        Err(_panic) => Err(Opening::Damaged("the library gave up on it".to_owned())),
    }
}

fn put_aside(path: &Path, reason: &str) -> Result<(), StoreError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    fs::rename(path, &aside)?;
    warn!(path = %path.display(), reason, "the history is damaged: it is put aside, and a new one begins");
    Ok(())
}

fn add_row(rows: &mut redb::Table<'_, RowKey, RowValue>, topic: &Topic, mut times: Times) -> Result<(), StoreError> {
    let (hour, key) = (hour_number(topic.hour), topic_text(topic));
    let mut after = String::new();
    if let Some(known) = rows.get((hour, key.as_str()))? {
        let (count, first, last, known_after) = known.value();
        times.merge(Times { count, first, last });
        known_after.clone_into(&mut after);
    }
    rows.insert((hour, key.as_str()), (times.count, times.first, times.last, after.as_str()))?;
    Ok(())
}

/// Adds to a row what was asked for before; `false`: there is none.
fn note_pull(rows: &mut redb::Table<'_, RowKey, RowValue>, topic: &Topic, pull: &Pull) -> Result<bool, StoreError> {
    let (hour, key) = (hour_number(topic.hour), topic_text(topic));
    let after = serde_json::to_string(pull).unwrap_or_default();
    let known = rows.get((hour, key.as_str()))?.map(|known| {
        let (count, first, last, _) = known.value();
        (count, first, last)
    });
    let Some((count, first, last)) = known else { return Ok(false) };
    rows.insert((hour, key.as_str()), (count, first, last, after.as_str()))?;
    Ok(true)
}

fn add_rule(
    rules: &mut redb::Table<'_, &'static str, (u64, u64, u64)>,
    rule: &RuleKey,
    mut times: Times,
) -> Result<(), StoreError> {
    let key = serde_json::to_string(&(rule.kind.to_string(), &rule.entry, &rule.pattern)).unwrap_or_default();
    if let Some(known) = rules.get(key.as_str())? {
        let (count, first, last) = known.value();
        times.merge(Times { count, first, last });
    }
    rules.insert(key.as_str(), (times.count, times.first, times.last))?;
    Ok(())
}

/// What a row is about, as a list: client, group, name, verdict, reason, then the rule's kind, entry and pattern; of an
/// image the repository and what was done with it as well.
fn topic_text(topic: &Topic) -> String {
    let Topic { about, image, group, decision, reason, rule, hour: _ } = topic;
    let client = about.as_ref().map(|(client, _)| client);
    let name = about.as_ref().and_then(|(_, name)| name.as_ref()).map(ToString::to_string);
    let rule = rule.as_ref().map(|rule| (rule.kind.to_string(), &rule.entry, &rule.pattern));
    let verdict = VerdictWord::from(*decision);
    match image {
        None => serde_json::to_string(&(client, group, name, verdict, reason, rule)),
        Some(image) => serde_json::to_string(&(client, group, name, verdict, reason, rule, image)),
    }
    .unwrap_or_default()
}

/// The same, read again.
#[derive(serde::Deserialize)]
struct Parts(
    Option<std::net::IpAddr>,
    Option<String>,
    Option<String>,
    VerdictWord,
    String,
    Option<(String, String, String)>,
    #[serde(default)] Option<(String, String)>,
);

fn row_of(hour: u32, topic: &str, times: Times, after: &str) -> Option<HistoryRow> {
    let Parts(client, group, name, verdict, reason, rule, image) = serde_json::from_str(topic).ok()?;
    let rule = rule.map(|(kind, entry, pattern)| report::RuleOfRow { kind, entry, pattern });
    Some(HistoryRow {
        hour: report::timestamp(u64::from(hour) * 3600),
        client,
        group,
        name,
        image: image.map(|(repository, action)| report::ImageOfRow { repository, action }),
        verdict,
        reason,
        rule,
        after: serde_json::from_str(after).ok(),
        count: times.count,
        first: report::timestamp(times.first),
        last: report::timestamp(times.last),
    })
}

fn rule_of(key: &str) -> Option<RuleKey> {
    let (kind, entry, pattern): (String, String, String) = serde_json::from_str(key).ok()?;
    let kind = RuleKind::ALL.into_iter().find(|known| known.to_string() == kind)?;
    Some(RuleKey { kind, entry, pattern })
}

fn hour_number(hour: u64) -> u32 {
    u32::try_from(hour).unwrap_or(u32::MAX)
}

type RowKey = (u32, &'static str);
type RowValue = (u64, u64, u64, &'static str);

/// By the hour since 1970 and what it is about: how often, first and last in Unix time, and what was asked for before.
const ROWS: TableDefinition<'static, RowKey, RowValue> = TableDefinition::new("rows-1");
/// By kind, entry and pattern: how often, first and last.
const RULES: TableDefinition<'static, &'static str, (u64, u64, u64)> = TableDefinition::new("rules-1");
/// When it began.
const ABOUT: TableDefinition<'static, &'static str, u64> = TableDefinition::new("about");
/// What of the file is kept in memory.
const CACHE: usize = 2 << 20;
/// Rules of which the history knows; beyond, those that were hit longest ago go.
const MAX_RULES: u64 = 50_000;
const MAX_PRUNINGS: usize = 16;
