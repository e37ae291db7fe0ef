//! The numbers of what was decided: questions, denials, how long answers took, hits of rules.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use crate::event::Decision;
use crate::event::latency::BOUNDS;
use crate::observe::exposition::{Exposition, Kind};
use crate::observe::recent::VerdictWord;
use crate::observe::rule_hits::{RuleHits, RuleKey, RuleKind};
use crate::observe::totals::{Sums, Totals};
use crate::policy::snapshot::Snapshot;

/// Writes all of them; the rules are those of `policy`, those of images only where the gateway is.
pub(super) fn write(text: &mut Exposition, totals: &Totals, policy: &Snapshot, has_gateway: bool) {
    totals.read(|sums| {
        write_questions(text, sums);
        write_reasons(text, sums);
        write_images(text, sums);
        write_latencies(text, sums);
        write_rules(text, &sums.rules, policy, has_gateway);
        let help =
            "Decisions left out of the numbers above, since a thread had too many different ones within a second.";
        text.single("pullgate_decisions_uncounted_total", Kind::Counter, help, sums.lost);
    });
    let Some(history) = totals.history() else { return };
    let help = "The bytes of the history's file.";
    text.single("pullgate_history_bytes", Kind::Gauge, help, history.bytes());
    let help = "Decisions that the history had no room for, or could not write.";
    text.single("pullgate_history_dropped_total", Kind::Counter, help, history.dropped());
}

fn write_questions(text: &mut Exposition, sums: &Sums) {
    let name = "pullgate_decisions_total";
    text.family(name, Kind::Counter, "Questions, and connections to the gateway, by what was decided on their names.");
    let decided = sums.sum_by(|kind| Some((kind.group.clone(), kind.decision, kind.wanted, kind.carrier)));
    for ((group, decision, wanted, carrier), count) in decided {
        let verdict = VerdictWord::from(decision).to_string();
        let labels =
            [("group", &*group), ("verdict", &verdict), ("type", wanted.word()), ("transport", carrier.word())];
        text.sample(name, &labels, count);
    }
}

fn write_reasons(text: &mut Exposition, sums: &Sums) {
    for (name, decision, help) in [
        ("pullgate_denied_total", Decision::Deny, "What was denied, by reason."),
        ("pullgate_would_deny_total", Decision::Audit, "What resolves only because of audit, by reason."),
    ] {
        text.family(name, Kind::Counter, help);
        let of_decision = |kind: &crate::observe::totals::Kind| kind.decision == decision;
        let reasons = sums.sum_by(|kind| of_decision(kind).then(|| (kind.group.clone(), kind.reason)));
        for ((group, reason), count) in reasons {
            text.sample(name, &[("group", &*group), ("reason", reason.word())], count);
        }
    }
}

fn write_images(text: &mut Exposition, sums: &Sums) {
    let name = "pullgate_image_decisions_total";
    let help = "Requests at the gateway that were judged by the policy of images, by what was decided and why.";
    text.family(name, Kind::Counter, help);
    for (kind, count) in &sums.images {
        let verdict = VerdictWord::from(kind.decision).to_string();
        let labels = [("group", &*kind.group), ("verdict", &verdict), ("action", kind.action), ("reason", kind.reason)];
        text.sample(name, &labels, count);
    }
}

fn write_latencies(text: &mut Exposition, sums: &Sums) {
    let name = "pullgate_answer_duration_seconds";
    let help = "From receiving a question to having sent its answer; for forwarded ones, to having it.";
    text.family(name, Kind::Histogram, help);
    for (source, histogram) in sums.latencies.all() {
        text.histogram(name, ("source", source), &BOUNDS, histogram);
    }
}

/// The rules of the policy, in its order, those that were never hit among them; not more than there is room for.
fn write_rules(text: &mut Exposition, hits: &RuleHits, policy: &Snapshot, has_gateway: bool) {
    let mut seen = BTreeSet::new();
    let ours = RuleKey::all(policy).filter(|key| has_gateway || key.kind != RuleKind::Images);
    let keys = ours.filter(|key| seen.insert(key.clone()));
    let keys: Vec<_> = keys.take(MAX_RULES).collect();
    let hits_of = "pullgate_rule_hits_total";
    text.family(hits_of, Kind::Counter, "Decisions by a rule since the start, of the first 1000 rules.");
    for key in &keys {
        write_rule(text, hits_of, key, hits.of(key).count);
    }
    let last_of = "pullgate_rule_last_hit_timestamp_seconds";
    text.family(last_of, Kind::Gauge, "When a rule last decided, in Unix time; none of those that never did.");
    for key in &keys {
        if let Some(last) = hits.of(key).last {
            let last = last.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            write_rule(text, last_of, key, last);
        }
    }
    let unused = policy.rule_count().saturating_sub(hits.len() - hits.len_of_images());
    let help = "Rules in force that never decided since the start, or since the history began.";
    text.single("pullgate_rules_unused", Kind::Gauge, help, unused);
    if has_gateway {
        let unused = hits.image_keys().saturating_sub(hits.len_of_images());
        let help = "Keys of the images in force that never decided since the start, or since the history began.";
        text.single("pullgate_image_rules_unused", Kind::Gauge, help, unused);
    }
    let help = "Hits that were kept of no rule, since too many others had some.";
    text.single("pullgate_rule_hits_unkept_total", Kind::Counter, help, hits.unkept());
}

fn write_rule(text: &mut Exposition, name: &str, key: &RuleKey, value: u64) {
    let kind = key.kind.to_string();
    text.sample(name, &[("kind", &kind), ("entry", &key.entry), ("pattern", &key.pattern)], value);
}

/// A policy may have a million rules; a collector wants some thousand series.
const MAX_RULES: usize = 1000;
