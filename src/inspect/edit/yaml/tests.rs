use proptest::prelude::*;

use super::*;

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|item| (*item).to_owned()).collect())
}

#[test]
fn one_key_is_set_and_all_else_stays_as_it_was_written() {
    for (before, after) in [
        ("", "network:\n  dns: [198.18.0.1]\n"),
        ("# only this\n", "# only this\nnetwork:\n  dns: [198.18.0.1]\n"),
        ("cpu: 2", "cpu: 2\nnetwork:\n  dns: [198.18.0.1]\n"),
        ("---\ncpu: 2 # two\n", "---\ncpu: 2 # two\nnetwork:\n  dns: [198.18.0.1]\n"),
        ("network:\n", "network:\n  dns: [198.18.0.1]\n"),
        ("network: # none\ncpu: 2\n", "network: # none\n  dns: [198.18.0.1]\ncpu: 2\n"),
        ("network: null # none\ncpu: 2\n", "network:\n  dns: [198.18.0.1] # none\ncpu: 2\n"),
        ("network:\n  dns: [] # d\ncpu: 2\n", "network:\n  dns: [198.18.0.1] # d\ncpu: 2\n"),
        ("network:\n  dns: # d\ncpu: 2\n", "network:\n  dns: [198.18.0.1] # d\ncpu: 2\n"),
        ("network:\n  dns: null\ncpu: 2\n", "network:\n  dns: [198.18.0.1]\ncpu: 2\n"),
        (
            "network:\n    a: 1 # é\n\n# next\ncpu: 2\n",
            "network:\n    a: 1 # é\n    dns: [198.18.0.1]\n\n# next\ncpu: 2\n",
        ),
        (
            "network:\n  dns:\n    - 8.8.8.8 # é\n    # other\n    - 8.8.4.4\n  a: 1\n",
            "network:\n  dns:\n    # other\n    - 198.18.0.1\n  a: 1\n",
        ),
        ("network:\n  dns:\n  - 8.8.8.8\n  a: 1\n", "network:\n  dns:\n  - 198.18.0.1\n  a: 1\n"),
        ("network: {a: 1}\n", "network: {a: 1, dns: [198.18.0.1]}\n"),
        ("network: {}\n", "network: {dns: [198.18.0.1]}\n"),
        ("{network: , cpu: 2}\n", "{network: {dns: [198.18.0.1]} , cpu: 2}\n"),
        ("network:\r\n  a: 1\r\n", "network:\r\n  a: 1\r\n  dns: [198.18.0.1]\r\n"),
        (
            "network:\n  a: |\n    one\n    two\ncpu: 2\n",
            "network:\n  a: |\n    one\n    two\n  dns: [198.18.0.1]\ncpu: 2\n",
        ),
        ("base: &b {a: 1}\nnetwork:\n  <<: *b\n", "base: &b {a: 1}\nnetwork:\n  <<: *b\n  dns: [198.18.0.1]\n"),
    ] {
        let changed = set(before, &["network", "dns"], &list(&["198.18.0.1"]));
        assert_eq!(changed.as_deref(), Ok(after), "{before:?}");
    }
}

#[test]
fn texts_are_quoted_where_they_could_mean_something_else() {
    for (text, written) in
        [("fe80::", "\"fe80::\""), ("true", "\"true\""), ("1.5", "\"1.5\""), ("/etc/a", "/etc/a"), ("a b", "\"a b\"")]
    {
        let changed = set("a: 1\n", &["a"], &Value::Text(text.to_owned())).unwrap();
        assert_eq!(changed, format!("a: {written}\n"));
        assert_eq!(read(&changed, &["a"]).unwrap(), Some(Value::Text(text.to_owned())));
    }
}

#[test]
fn what_is_not_one_document_or_is_otherwise_used_is_a_fault_with_its_place() {
    for (text, expected) in [
        ("a: 1\nb: [\n", "line 3, column 1: "),
        ("a: 1\na: 2\n", "line 2, column 1: `a` is written twice"),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: a second document begins here"),
        ("b: 1\nnetwork: 1\n", "line 2, column 10: `dns` cannot be set below what is no mapping"),
        ("b: &n {}\nnetwork: *n\n", "line 2, column 10: `dns` cannot be set below what is no mapping"),
        ("network:\n  dns: {a: 1}\n", "line 2, column 8: something of another kind stands here"),
        ("- a\n", "line 1, column 1: `network` cannot be set below what is no mapping"),
    ] {
        let fault = set(text, &["network", "dns"], &list(&["a"])).unwrap_err().to_string();
        assert!(fault.starts_with(expected), "{text:?}: {fault}");
    }
}

#[test]
fn a_value_that_another_place_refers_to_is_not_replaced() {
    let fault = set("dns: &d [a]\nother: *d\n", &["dns"], &list(&["b"])).unwrap_err();
    assert_eq!(fault.message, "`dns` cannot be set without changing more");
}

#[test]
fn what_nests_without_end_is_a_fault() {
    assert!(set(&"[".repeat(10_000), &["a"], &Value::Flag(true)).is_err());
    assert!(set(&"a:\n ".repeat(10_000), &["a"], &Value::Flag(true)).is_err());
}

/// Trees of mappings, lists and scalars, as block text.
fn documents() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-zé]{1,3}( # [a-zé]{0,3})?",
        Just("[a, b]".to_owned()),
        Just("{}".to_owned()),
        Just("null".to_owned()),
        Just("\"x: y\"".to_owned()),
        Just("{a: 1}".to_owned()),
    ];
    let leaf = leaf.prop_map(|text| format!(" {text}\n"));
    leaf.prop_recursive(3, 12, 3, |inner| {
        let map = prop::collection::btree_map("[a-d]", inner.clone(), 1..4)
            .prop_map(|map| indented(map.iter().map(|(key, value)| format!("{key}:{value}"))));
        let list = prop::collection::vec("[a-d]{1,3}", 1..3)
            .prop_map(|items| indented(items.iter().map(|item| format!("- {item}\n"))));
        prop_oneof![map, list]
    })
}

fn indented(items: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> =
        items.flat_map(|item| item.lines().map(|line| format!("  {line}\n")).collect::<Vec<_>>()).collect();
    format!(" # é\n{}", lines.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]{}:,#&*|>'\"\\-? a-cé\r\n]{0,60}") {
        let _ = set(&text, &["a", "b"], &Value::Flag(true));
    }

    #[test]
    fn what_is_set_is_read_and_nothing_else_changes(
        first in documents(), second in documents(), path in prop::collection::vec("[a-d]", 1..3),
        value in prop_oneof![Just(Value::Flag(false)), "[ -~é]{0,6}".prop_map(Value::Text), Just(list(&["198.18.0.1", "fe80::"]))],
    ) {
        let text = format!("# é\na:{first}b:{second}");
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let Ok(after) = set(&text, &path, &value) else { return Ok(()) };
        prop_assert_eq!(read(&after, &path).unwrap(), Some(value.clone()));
        prop_assert_eq!(set(&after, &path, &value).unwrap(), after.clone());
        let comments = |text: &str| text.matches(" #").count();
        let replaced = read(&text, &path).unwrap().is_some();
        prop_assert!(replaced || comments(&after) == comments(&text), "{}\nbecame\n{}", text, after);
    }

    #[test]
    fn scalars_and_lists_in_plain_mappings_can_always_be_set(first in documents(), key in "[b-d]") {
        let text = format!("a:{first}b: 1 # one\n");
        prop_assert!(set(&text, &[&key], &Value::Flag(true)).is_ok(), "{}", text);
    }
}
