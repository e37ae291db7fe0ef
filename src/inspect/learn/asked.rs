//! What was asked for and denied, or would have been: a name for a group, added up over clients and hours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::control::report::{HistoryRow, ImageOfRow, Pull, VerdictWord};

/// A name that a group's clients asked for in vain.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) group: Option<String>,
    /// In presentation form.
    pub(super) name: String,
    /// Why, in a word, as it was last.
    pub(super) reason: String,
    /// The entry of the rule that it was last.
    pub(super) entry: Option<String>,
    pub(super) count: u64,
    pub(super) clients: BTreeSet<IpAddr>,
    pub(super) first: String,
    pub(super) last: String,
    /// By registry: how often its name had been asked for shortly before, and how that was.
    after: BTreeMap<String, (u64, Pull)>,
}

/// The same of images, those at one registry and in one group together.
pub(super) fn collect_images(rows: &[HistoryRow]) -> Vec<(ImageOfRow, Asked)> {
    let mut known: BTreeMap<(Option<&str>, &str, &ImageOfRow), Asked> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.verdict != VerdictWord::Allow) {
        let (Some(name), Some(image)) = (&row.name, &row.image) else { continue };
        let asked = known.entry((row.group.as_deref(), name, image)).or_insert_with(|| Asked::new(row, name));
        asked.add(row);
    }
    known.into_iter().map(|((_, _, image), asked)| (image.clone(), asked)).collect()
}

/// Adds up the rows that tell of a name's denial; how often various names were denied, of which nothing more is known.
pub(super) fn collect(rows: &[HistoryRow]) -> (Vec<Asked>, u64) {
    let mut known: BTreeMap<(Option<&str>, &str), Asked> = BTreeMap::new();
    let mut various: u64 = 0;
    for row in rows.iter().filter(|row| row.verdict != VerdictWord::Allow && row.image.is_none()) {
        match &row.name {
            None => various = various.saturating_add(row.count),
            Some(name) => {
                let asked = known.entry((row.group.as_deref(), name)).or_insert_with(|| Asked::new(row, name));
                asked.add(row);
            }
        }
    }
    (known.into_values().collect(), various)
}

impl Asked {
    fn new(row: &HistoryRow, name: &str) -> Self {
        Self {
            group: row.group.clone(),
            name: name.to_owned(),
            reason: String::new(),
            entry: None,
            count: 0,
            clients: BTreeSet::new(),
            first: row.first.clone(),
            last: String::new(),
            after: BTreeMap::new(),
        }
    }

    fn add(&mut self, row: &HistoryRow) {
        self.count = self.count.saturating_add(row.count);
        self.clients.extend(row.client);
        // Equally long, from the largest unit to the smallest: text in order is time in order.
        if row.first < self.first {
            self.first.clone_from(&row.first);
        }
        if row.last >= self.last {
            self.last.clone_from(&row.last);
            self.reason.clone_from(&row.reason);
            self.entry = row.rule.as_ref().map(|rule| rule.entry.clone());
        }
        if let Some(pull) = &row.after {
            let (count, last) = self.after.entry(pull.registry.clone()).or_insert_with(|| (0, pull.clone()));
            *count = count.saturating_add(row.count);
            last.clone_from(pull);
        }
    }

    /// The registry that most of it was asked for after.
    pub(super) fn after(&self) -> Option<&Pull> {
        self.after.values().max_by_key(|(count, _)| *count).map(|(_, pull)| pull)
    }

    /// How often a registry had been asked for before it, by the hour.
    pub(super) fn explained(&self) -> u64 {
        self.after.values().map(|(count, _)| *count).sum()
    }
}
