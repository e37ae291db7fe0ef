//! JSON, as Docker writes it.

use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};
use jsonc_parser::errors::ParseError;
use jsonc_parser::{CollectOptions, parse_to_ast};
use serde_json::Value;

use super::EditFault;
use crate::tree::STRICT_JSON;

/// The text with `value` at the key that `path` leads to; objects on the way are made where there are none. An empty text
/// is taken for an empty object. All else stays as it was written.
///
/// # Errors
/// The text is not JSON; a key stands twice in its object; something on the way is no object.
pub fn set(text: &str, path: &[&str], value: Value) -> Result<String, EditFault> {
    if read(text, path)?.as_ref() == Some(&value) {
        return Ok(text.to_owned());
    }
    let Some((key, objects)) = path.split_last() else { return Ok(text.to_owned()) };
    let root = parse(text)?;
    let mut object = root.object_value_or_create().ok_or_else(|| no_object(text, "the whole"))?;
    for name in objects {
        object = object.object_value_or_create(name).ok_or_else(|| no_object(text, name))?;
    }
    match object.get(key) {
        Some(property) => property.set_value(input(value)),
        None => drop(object.append(key, input(value))),
    }
    let mut written = root.to_string();
    if !written.ends_with('\n') {
        written.push('\n');
    }
    Ok(written)
}

/// The text without the key that `path` leads to; the same text where there is none.
///
/// # Errors
/// As [`set`].
pub fn remove(text: &str, path: &[&str]) -> Result<String, EditFault> {
    if read(text, path)?.is_none() {
        return Ok(text.to_owned());
    }
    let root = parse(text)?;
    let Some((key, objects)) = path.split_last() else { return Ok(text.to_owned()) };
    let object = objects.iter().try_fold(root.object_value(), |object, name| Some(object?.object_value(name)));
    if let Some(property) = object.flatten().and_then(|object| object.get(key)) {
        property.remove();
    }
    Ok(root.to_string())
}

/// The value at a path; `None` where there is none.
///
/// # Errors
/// As [`set`].
pub fn read(text: &str, path: &[&str]) -> Result<Option<Value>, EditFault> {
    let root = parse(text)?;
    let Some(whole) = root.value() else { return Ok(None) };
    let mut object = whole.as_object().ok_or_else(|| no_object(text, "the whole"))?;
    refuse_duplicates(text, &object)?;
    let Some((key, objects)) = path.split_last() else { return Ok(value_of(&whole)) };
    for name in objects {
        let Some(value) = object.get(name).and_then(|property| property.value()) else { return Ok(None) };
        object = value.as_object().ok_or_else(|| no_object(text, name))?;
        refuse_duplicates(text, &object)?;
    }
    Ok(object.get(key).and_then(|property| property.value()).and_then(|value| value_of(&value)))
}

fn value_of(node: &CstNode) -> Option<Value> {
    serde_json::from_str(&node.to_string()).ok()
}

fn parse(text: &str) -> Result<CstRootNode, EditFault> {
    let fault = |error: ParseError| EditFault::at(text, error.range().start, error.kind().to_string());
    // The tree that can be edited takes comments whatever the options say.
    parse_to_ast(text, &CollectOptions::default(), &STRICT_JSON).map_err(fault)?;
    CstRootNode::parse(text, &STRICT_JSON).map_err(fault)
}

/// Of a key that stands twice one program takes the first and another one the last.
fn refuse_duplicates(text: &str, object: &CstObject) -> Result<(), EditFault> {
    let mut seen = Vec::new();
    for name in object.properties().iter().filter_map(CstObjectProp::decoded_name) {
        if seen.contains(&name) {
            let at = text.rfind(&format!("{name:?}")).unwrap_or_default();
            return Err(EditFault::at(text, at, format!("the key `{name}` stands twice")));
        }
        seen.push(name);
    }
    Ok(())
}

fn no_object(text: &str, name: &str) -> EditFault {
    let at = text.find(&format!("{name:?}")).unwrap_or_default();
    EditFault::at(text, at, format!("`{name}` is not an object"))
}

fn input(value: Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(value),
        Value::Number(value) => CstInputValue::Number(value.to_string()),
        Value::String(value) => CstInputValue::String(value),
        Value::Array(values) => CstInputValue::Array(values.into_iter().map(input).collect()),
        Value::Object(values) => {
            CstInputValue::Object(values.into_iter().map(|(key, value)| (key, input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn one_key_is_set_and_all_else_stays_as_it_was_written() {
        let dns = || json!(["172.17.0.1"]);
        for (before, after) in [
            ("", "{\n  \"dns\": [\"172.17.0.1\"]\n}\n"),
            ("{}", "{\n  \"dns\": [\"172.17.0.1\"]\n}\n"),
            (
                "{\n    \"debug\" : true,\n    \"dns\": [ \"8.8.8.8\", \"1.1.1.1\" ],\n    \"x\": {\"b\":1, \"a\":2.50}\n}\n",
                "{\n    \"debug\" : true,\n    \"dns\": [\"172.17.0.1\"],\n    \"x\": {\"b\":1, \"a\":2.50}\n}\n",
            ),
            (
                "{\n\t\"insecure-registries\": [\n\t\t\"a:5000\"\n\t]\n}",
                "{\n\t\"insecure-registries\": [\n\t\t\"a:5000\"\n\t],\n\t\"dns\": [\"172.17.0.1\"]\n}\n",
            ),
            ("{\n  \"dns\":[\n \"172.17.0.1\"]}", "{\n  \"dns\":[\n \"172.17.0.1\"]}"),
        ] {
            assert_eq!(set(before, &["dns"], dns()).as_deref(), Ok(after), "{before:?}");
        }
    }

    #[test]
    fn a_key_is_removed_with_its_comma() {
        let text = "{\n  \"a\": 1,\n  \"dns\": [\"::1\"],\n  \"b\": 2\n}\n";
        assert_eq!(remove(text, &["dns"]).as_deref(), Ok("{\n  \"a\": 1,\n  \"b\": 2\n}\n"));
        assert_eq!(remove(text, &["other"]).as_deref(), Ok(text));
    }

    #[test]
    fn what_is_not_json_or_is_otherwise_used_is_a_fault_with_its_place() {
        for (text, expected) in [
            ("{\n  \"dns\": [\"a\",]\n}", "line 2, column 14: "),
            ("{ // mine\n}", "line 1, column 3: "),
            ("{ 'dns': 1 }", "line 1, column 3: "),
            ("{\"a\": 1", "line 1, column 1: "),
            ("{} {}", "line 1, column 4: "),
            ("[1]", "line 1, column 1: `the whole` is not an object"),
            ("{\"dns\": 1,\n \"dns\": 2}", "line 2, column 2: the key `dns` stands twice"),
        ] {
            let fault = set(text, &["dns"], json!([])).unwrap_err().to_string();
            assert!(fault.starts_with(expected), "{text:?}: {fault}");
        }
        let fault = set("{\n\"log-opts\": 1}", &["log-opts", "tag"], json!("x")).unwrap_err();
        assert_eq!(fault.to_string(), "line 2, column 1: `log-opts` is not an object");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"é\\\\]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:a0 \n]{0,40}") {
            let _ = set(&text, &["a", "b"], json!(1));
            let _ = remove(&text, &["a"]);
        }

        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(
            other in prop::collection::btree_map("[a-c\"é\\\\]{1,2}", any_json(), 0..5),
            key in "[a-c]{1,2}",
            value in any_json(),
            pretty in any::<bool>(),
        ) {
            let mut expected = Map::from_iter(other);
            let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let before = write(&expected).unwrap();
            let after = set(&before, &[&key], value.clone()).unwrap();
            expected.insert(key.clone(), value.clone());
            prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), Value::Object(expected.clone()));
            prop_assert_eq!(set(&after, &[&key], value).unwrap(), after.clone());
            let removed = remove(&after, &[&key]).unwrap();
            expected.shift_remove(&key);
            prop_assert_eq!(serde_json::from_str::<Value>(&removed).unwrap(), Value::Object(expected));
        }
    }
}
