//! Files of `[section]` and `key = value` lines, as WSL, NetworkManager and systemd read them.

use super::EditFault;

/// The text with `key = value` in a section, which is made where there is none. Of lines that set the key more than
/// once the last is changed, the one that counts to most readers, and the others are left out.
///
/// # Errors
/// A line is neither blank, comment, section nor `key = value`; `value` has more than one line.
pub fn set(text: &str, section: &str, key: &str, value: &str) -> Result<String, EditFault> {
    if value.contains(['\n', '\r']) {
        return Err(EditFault::at(text, 0, format!("the value of `{key}` has more than one line")));
    }
    let lines = parse(text)?;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let new = format!("{key} = {value}{end}");
    let places: Vec<usize> = positions(&lines, section, key);
    if let [only] = *places
        && lines[only].pair == Some((key, value))
    {
        return Ok(text.to_owned());
    }
    let mut kept: Vec<String> = lines.iter().map(|line| line.text.to_owned()).collect();
    match (places.split_last(), lines.iter().rposition(|line| line.belongs_to(section))) {
        (Some((last, others)), _) => {
            kept[*last] = new;
            for place in others {
                kept[*place].clear();
            }
        }
        (None, Some(last)) => {
            terminate(&mut kept[last], end);
            kept.insert(last + 1, new);
        }
        (None, None) => {
            if let Some(last) = kept.last_mut() {
                terminate(last, end);
            }
            let gap = if kept.is_empty() { "" } else { end };
            kept.push(format!("{gap}[{section}]{end}{new}"));
        }
    }
    Ok(kept.concat())
}

/// The value of a key, the last where it is set more than once; `None` where it is not.
///
/// # Errors
/// As [`set`].
pub fn read<'t>(text: &'t str, section: &str, key: &str) -> Result<Option<&'t str>, EditFault> {
    let lines = parse(text)?;
    let last = positions(&lines, section, key).pop();
    Ok(last.and_then(|place| lines[place].pair).map(|(_, value)| value))
}

/// A line with its end, the section it stands in, and what it sets.
struct Line<'t> {
    text: &'t str,
    section: &'t str,
    /// Key and value.
    pair: Option<(&'t str, &'t str)>,
    /// Whether it is a section's first line or sets something: behind the last of these a new key goes.
    is_content: bool,
}

impl Line<'_> {
    fn belongs_to(&self, section: &str) -> bool {
        self.is_content && self.section.eq_ignore_ascii_case(section)
    }
}

fn parse(text: &str) -> Result<Vec<Line<'_>>, EditFault> {
    let mut section = "";
    let mut place = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        let mut pair = None;
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim();
        } else if !content.is_empty() && !content.starts_with(['#', ';']) {
            let (key, value) = content.split_once('=').ok_or_else(|| {
                EditFault::at(text, place, format!("`{content}` is neither `[section]` nor `key = value`"))
            })?;
            pair = Some((key.trim(), value.trim()));
        }
        let is_content = pair.is_some() || content.starts_with('[');
        lines.push(Line { text: line, section, pair, is_content });
        place += line.len();
    }
    Ok(lines)
}

fn positions(lines: &[Line<'_>], section: &str, key: &str) -> Vec<usize> {
    let sets = |line: &Line<'_>| {
        line.section.eq_ignore_ascii_case(section) && line.pair.is_some_and(|(name, _)| name.eq_ignore_ascii_case(key))
    };
    lines.iter().enumerate().filter(|(_, line)| sets(line)).map(|(place, _)| place).collect()
}

fn terminate(line: &mut String, end: &str) {
    if !line.ends_with('\n') {
        line.push_str(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_key_is_set_and_all_else_stays_as_it_was_written() {
        for (before, after) in [
            ("", "[network]\ngenerateResolvConf = false\n"),
            ("[boot]\nsystemd=true", "[boot]\nsystemd=true\n\n[network]\ngenerateResolvConf = false\n"),
            (
                "# mine\n[network]\ngenerateHosts=false\n; end\n\n[user]\ndefault=me\n",
                "# mine\n[network]\ngenerateHosts=false\ngenerateResolvConf = false\n; end\n\n[user]\ndefault=me\n",
            ),
            ("[network]\ngenerateResolvConf=false\n", "[network]\ngenerateResolvConf=false\n"),
            ("# a\r", "# a\r\n\n[network]\ngenerateResolvConf = false\n"),
            ("[Network]\ngenerateresolvconf=TRUE\n", "[Network]\ngenerateResolvConf = false\n"),
            (
                "[network]\ngenerateResolvConf = false\n[network]\n# again\ngenerateResolvConf = true\nb=1\n",
                "[network]\n[network]\n# again\ngenerateResolvConf = false\nb=1\n",
            ),
            ("[boot]\r\nsystemd=true\r\n", "[boot]\r\nsystemd=true\r\n\r\n[network]\r\ngenerateResolvConf = false\r\n"),
        ] {
            let set = set(before, "network", "generateResolvConf", "false");
            assert_eq!(set.as_deref(), Ok(after), "{before:?}");
            assert_eq!(super::set(after, "network", "generateResolvConf", "false").as_deref(), Ok(after), "{before:?}");
        }
    }

    #[test]
    fn a_line_that_says_nothing_is_a_fault_with_its_place() {
        let fault = set("[network]\nhello\n", "network", "a", "b").unwrap_err();
        assert_eq!(fault.to_string(), "line 2, column 1: `hello` is neither `[section]` nor `key = value`");
        assert!(set("", "network", "a", "b\nc").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]=#; a-c\r\n]{0,60}") {
            let _ = set(&text, "a", "b", "c");
        }

        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(
            lines in prop::collection::vec("(# [a-c]{0,3}|\\[[a-c]\\]|[a-c] ?= ?[0-9]|)", 0..12),
            section in "[a-c]", key in "[a-d]",
        ) {
            let text = lines.join("\n");
            let after = set(&text, &section, &key, "new").unwrap();
            prop_assert_eq!(read(&after, &section, &key).unwrap(), Some("new"));
            for (other_section, other_key) in ["a", "b", "c"].iter().flat_map(|s| ["a", "b", "c"].map(|k| (*s, k))) {
                if (other_section, other_key) != (section.as_str(), key.as_str()) {
                    let value = read(&text, other_section, other_key).unwrap();
                    prop_assert_eq!(read(&after, other_section, other_key).unwrap(), value);
                }
            }
            let comments = |text: &str| text.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(comments(&after), comments(&text));
            prop_assert_eq!(set(&after, &section, &key, "new").unwrap(), after.clone());
        }
    }
}
