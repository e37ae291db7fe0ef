//! TOML, as BuildKit, the container tools and containerd write it.

use toml_edit::{DocumentMut, Item, Table, TableLike, TomlError, Value};

use super::EditFault;

/// The text with `value` at the key that `path` leads to; tables on the way are made where there are none.
///
/// # Errors
/// The text is not TOML; something on the way is no table; a table stands where the value belongs.
pub fn set(text: &str, path: &[&str], value: impl Into<Value>) -> Result<String, EditFault> {
    let mut document = parse(text)?;
    let Some((key, tables)) = path.split_last() else { return Ok(text.to_owned()) };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in tables {
        table = enter(table, name).ok_or_else(|| EditFault::at(text, 0, format!("`{name}` is not a table")))?;
    }
    match table.get_mut(key) {
        None => drop(table.insert(key, Item::Value(value.into()))),
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = value.into();
            *old.decor_mut() = decor;
        }
        Some(_) => return Err(EditFault::at(text, 0, format!("`{key}` is a table"))),
    }
    Ok(document.to_string())
}

/// The value at a path; `None` where there is none.
///
/// # Errors
/// The text is not TOML.
pub fn read(text: &str, path: &[&str]) -> Result<Option<Value>, EditFault> {
    let document = parse(text)?;
    let found = path.iter().try_fold(document.as_item(), |item, key| item.as_table_like()?.get(key));
    Ok(found.and_then(Item::as_value).map(|value| value.clone().decorated("", "")))
}

fn parse(text: &str) -> Result<DocumentMut, EditFault> {
    text.parse().map_err(|error: TomlError| {
        let place = error.span().map_or(0, |span| span.start);
        EditFault::at(text, place, error.message().trim_end().replace('\n', ", "))
    })
}

/// The table of that name, made if there is none; `None` if something else stands there.
fn enter<'t>(table: &'t mut dyn TableLike, name: &str) -> Option<&'t mut dyn TableLike> {
    if table.get(name).is_none() {
        table.insert(name, Item::Table(Table::new()));
    }
    table.get_mut(name)?.as_table_like_mut()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml_edit::Array;

    use super::*;

    fn addresses(addresses: &[&str]) -> Array {
        addresses.iter().copied().collect()
    }

    #[test]
    fn one_key_is_set_and_all_else_stays_as_it_was_written() {
        let path = ["dns", "nameservers"];
        for (before, after) in [
            ("", "[dns]\nnameservers = [\"198.18.0.1\"]\n"),
            ("debug = true # why\n", "debug = true # why\n\n[dns]\nnameservers = [\"198.18.0.1\"]\n"),
            (
                "# head\n[dns]\n  nameservers = [ \"8.8.8.8\" ] # Google\noptions = []\n",
                "# head\n[dns]\n  nameservers = [\"198.18.0.1\"] # Google\noptions = []\n",
            ),
            ("[dns] # d\n[worker.oci]\ngc=true", "[dns] # d\nnameservers = [\"198.18.0.1\"]\n[worker.oci]\ngc=true\n"),
            ("dns = { options = [] }\n", "dns = { options = [] , nameservers = [\"198.18.0.1\"] }\n"),
            ("dns.options = []\n", "dns.options = []\ndns.nameservers = [\"198.18.0.1\"]\n"),
        ] {
            assert_eq!(set(before, &path, addresses(&["198.18.0.1"])).as_deref(), Ok(after), "{before:?}");
        }
    }

    #[test]
    fn what_is_not_toml_or_is_otherwise_used_is_a_fault_with_its_place() {
        for (text, expected) in [
            ("[dns]\nnameservers = [\n", "line 2, column 16: unclosed array"),
            ("a = 1\na = 2\n", "line 2, column 1: duplicate key"),
            ("dns = 1\n", "line 1, column 1: `dns` is not a table"),
            ("[[dns]]\n", "line 1, column 1: `dns` is not a table"),
            ("[dns.nameservers]\n", "line 1, column 1: `nameservers` is a table"),
        ] {
            let fault = set(text, &["dns", "nameservers"], true).unwrap_err().to_string();
            assert!(fault.starts_with(expected), "{text:?}: {fault}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}=\"'#., a-c1\n]{0,60}") {
            let _ = set(&text, &["a", "b"], true);
        }

        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(
            keys in prop::collection::btree_map("[a-d]", 0i64..9, 0..4),
            tables in prop::collection::btree_map("[e-h]", prop::collection::btree_map("[a-d]", 0i64..9, 0..4), 0..4),
            path in prop::sample::select(vec![["e", "a"], ["f", "z"], ["y", "z"]]),
            comment in "[a-z ]{0,9}",
        ) {
            let own = keys.iter().map(|(key, value)| format!("{key} = {value} # {comment}\n"));
            let below = tables.iter().map(|(name, table)| {
                let lines = table.iter().map(|(key, value)| format!("{key}={value}\n"));
                format!("[{name}] # {comment}\n{}", lines.collect::<String>())
            });
            let text = own.chain(below).collect::<String>();
            let after = set(&text, &path, "new").unwrap();
            let written = read(&after, &path).unwrap().unwrap();
            prop_assert_eq!(written.as_str(), Some("new"));
            let untouched = |key: &str, value: i64| text.contains(&format!("{key}={value}\n"));
            for (name, table) in &tables {
                for (key, value) in table.iter().filter(|(key, _)| path != [name.as_str(), key.as_str()]) {
                    prop_assert!(untouched(key, *value));
                    let kept = read(&after, &[name, key]).unwrap().unwrap();
                    prop_assert_eq!(kept.as_integer(), Some(*value));
                }
            }
            let lines: Vec<&str> = after.lines().collect();
            let lost = text.lines().filter(|line| !lines.contains(line)).count();
            prop_assert!(lost <= 1, "{}\nbecame\n{}", text, after);
        }
    }
}
