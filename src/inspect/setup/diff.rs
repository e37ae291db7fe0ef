//! A change, as the lines that go and the lines that come.

use similar::TextDiff;

use crate::inspect::machine::FileState;
use crate::inspect::setup::Change;

/// The change in the unified format of diff(1). A symbolic link is shown as one line that says what it names; new
/// permissions as a line before the rest, as Git writes them.
pub fn diff(change: &Change) -> String {
    let path = change.path.display().to_string();
    let name = |state: &FileState| if *state == FileState::Absent { "/dev/null".to_owned() } else { path.clone() };
    let (before, after) = (lines(&change.before), lines(&change.after));
    let lines = TextDiff::from_lines(&before, &after);
    let unified = lines.unified_diff().header(&name(&change.before), &name(&change.after)).to_string();
    match (&change.before, &change.after) {
        (FileState::Text { mode: old, .. }, FileState::Text { mode: new, .. }) if old != new => {
            format!("old mode {old:04o}\nnew mode {new:04o}\n{unified}")
        }
        _ => unified,
    }
}

fn lines(state: &FileState) -> String {
    match state {
        FileState::Absent => String::new(),
        FileState::Text { text, .. } => text.clone(),
        FileState::Link(target) => format!("symbolic link to {}\n", target.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, mode: u32) -> FileState {
        FileState::Text { text: text.to_owned(), mode }
    }

    fn shown(before: FileState, after: FileState) -> String {
        diff(&Change { path: "/etc/a".into(), before, after, why: String::new() })
    }

    #[test]
    fn what_stays_stands_around_what_changes() {
        let shown = shown(text("search a\nnameserver 192.0.2.1\n", 0o644), text("search a\nnameserver ::1\n", 0o644));
        assert_eq!(
            shown,
            "--- /etc/a\n+++ /etc/a\n@@ -1,2 +1,2 @@\n search a\n-nameserver 192.0.2.1\n+nameserver ::1\n"
        );
    }

    #[test]
    fn a_new_file_a_link_and_permissions_are_shown_as_such() {
        assert_eq!(shown(FileState::Absent, text("a\n", 0o644)), "--- /dev/null\n+++ /etc/a\n@@ -0,0 +1 @@\n+a\n");
        let link = shown(FileState::Link("../run/a".into()), text("a\n", 0o644));
        assert_eq!(link, "--- /etc/a\n+++ /etc/a\n@@ -1 +1 @@\n-symbolic link to ../run/a\n+a\n");
        assert_eq!(shown(text("a\n", 0o600), text("a\n", 0o644)), "old mode 0600\nnew mode 0644\n");
    }
}
