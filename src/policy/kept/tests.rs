//! What is kept, what a crash or a stranger's hand makes of it, and how much.

use proptest::prelude::*;

use super::*;

fn files(texts: &[(&str, &str)]) -> Vec<Source> {
    texts.iter().map(|(name, text)| Source::new(Path::new("/policy.d").join(name), *text)).collect()
}

fn one(text: &str) -> Vec<Source> {
    files(&[("a.toml", text)])
}

fn generation(generation: u64) -> KeptPolicy {
    let since = UNIX_EPOCH + Duration::from_secs(generation * 3600);
    KeptPolicy { generation, since, digest: format!("digest {generation}") }
}

fn texts(sources: &[Source]) -> Vec<(String, String)> {
    let name = |source: &Source| source.path().file_name().unwrap().to_str().unwrap().to_owned();
    sources.iter().map(|source| (name(source), source.text().to_owned())).collect()
}

fn last(kept: &Kept) -> Vec<(String, String)> {
    texts(&kept.last_good().unwrap())
}

#[test]
fn files_come_back_with_their_names_and_bytes() {
    let root = tempfile::tempdir().unwrap();
    let kept = Kept::new(&root.path().join("state"));
    assert!(kept.last_good().is_err());
    kept.save(&files(&[("a.toml", "# ä\r\n"), ("b.json", "{}")]), &generation(1)).unwrap();
    let expected = [("a.toml".into(), "# ä\r\n".into()), ("b.json".into(), "{}".into())];
    assert_eq!(last(&kept), expected);
    assert_eq!(texts(&kept.files(1).unwrap().unwrap()), expected);
    assert!(kept.files(2).is_none());
}

#[test]
fn the_last_ten_are_kept_newest_first_and_no_more() {
    let root = tempfile::tempdir().unwrap();
    let kept = Kept::new(root.path());
    for number in 1..=14 {
        kept.save(&one(&number.to_string()), &generation(number)).unwrap();
        assert_eq!(last(&kept), [("a.toml".into(), number.to_string())]);
    }
    let list = kept.list();
    assert_eq!(list.first(), Some(&generation(14)));
    assert_eq!(list.iter().map(|kept| kept.generation).collect::<Vec<_>>(), (5..=14).rev().collect::<Vec<_>>());
    assert_eq!(texts(&kept.files(5).unwrap().unwrap()), [("a.toml".into(), "5".into())]);
    assert!(kept.files(4).is_none());
    let folders = fs::read_dir(root.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(folders, 10 + 1, "the link leads to one of them");
}

#[test]
fn equal_files_of_two_generations_share_a_folder_and_go_with_the_last_of_them() {
    let root = tempfile::tempdir().unwrap();
    let kept = Kept::new(root.path());
    for (number, text) in [(1, "1"), (2, "2"), (3, "1")] {
        kept.save(&one(text), &generation(number)).unwrap();
    }
    assert_eq!(texts(&kept.files(1).unwrap().unwrap()), texts(&kept.files(3).unwrap().unwrap()));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 4, "two folders, the link and the index");
    kept.save(&one("1 # a comment"), &generation(3)).unwrap();
    assert_eq!(kept.list().len(), 3, "a generation has one set of files");
    assert_eq!(last(&kept), [("a.toml".into(), "1 # a comment".into())]);
}

#[test]
fn the_next_start_goes_on_counting() {
    let root = tempfile::tempdir().unwrap();
    let kept = Kept::new(root.path());
    let digest = Digest([7; 32]);
    assert_eq!(kept.generation_of(digest), 1);
    kept.save(&one("1"), &KeptPolicy { digest: digest.to_string(), ..generation(5) }).unwrap();
    assert_eq!((kept.generation_of(digest), kept.generation_of(Digest([8; 32]))), (5, 6));
}

#[test]
fn what_a_crash_left_unfinished_is_never_read_and_never_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let kept = Kept::new(root.path());
    kept.save(&one("old"), &generation(1)).unwrap();
    fs::create_dir(root.path().join(UNFINISHED)).unwrap();
    fs::write(root.path().join(UNFINISHED).join("a.toml"), "ne").unwrap();
    symlink("nowhere", root.path().join(UNFINISHED_LINK)).unwrap();
    assert_eq!(last(&kept), [("a.toml".into(), "old".into())]);
    kept.save(&one("new"), &generation(2)).unwrap();
    assert_eq!(last(&kept), [("a.toml".into(), "new".into())]);
}

#[test]
fn a_copy_that_was_changed_is_not_taken_for_a_policy() {
    let root = tempfile::tempdir().unwrap();
    let kept = Kept::new(root.path());
    kept.save(&one("old"), &generation(1)).unwrap();
    fs::write(root.path().join(LINK).join("a.toml"), "bad").unwrap();
    for found in [kept.last_good(), kept.files(1).unwrap()] {
        assert!(found.unwrap_err()[0].message.contains("changed or damaged"));
    }
    kept.save(&one("new"), &generation(2)).unwrap();
    assert_eq!(last(&kept), [("a.toml".into(), "new".into())]);
}

#[test]
fn an_index_that_leads_elsewhere_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    fs::create_dir_all(root.path().join("policy-elsewhere")).unwrap();
    fs::write(root.path().join("policy-elsewhere/a.toml"), "x").unwrap();
    let kept = Kept::new(&state);
    let line = Line { folder: "../policy-elsewhere".into(), generation: 1, since: 0, digest: String::new() };
    kept.index.write(Some(&vec![line])).unwrap();
    assert!(kept.files(1).unwrap().is_err());
}

proptest! {
    #[test]
    fn a_damaged_index_counts_as_empty_and_is_replaced(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "\\PC{0,40}") {
        let root = tempfile::tempdir().map_err(|_| TestCaseError::fail("a folder"))?;
        let kept = Kept::new(root.path());
        for damaged in [&bytes[..], text.as_bytes(), b"[{\"generation\":1,\"since\":18446744073709551615,\"digest\":\"\",\"folder\":\"/\"}]"] {
            fs::write(root.path().join(INDEX), damaged).map_err(|_| TestCaseError::fail("a file"))?;
            let _ = (kept.list(), kept.files(1), kept.generation_of(Digest([0; 32])));
        }
        kept.save(&one("new"), &generation(2)).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let list = kept.list();
        prop_assert_eq!(list.first(), Some(&generation(2)));
    }
}
