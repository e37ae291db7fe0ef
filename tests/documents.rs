//! What the documents show is what the program takes.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use pullgate::diagnostic::Source;
use pullgate::inspect::doctor::Section;
use pullgate::policy::compile::{Options, load};

/// The policies among the TOML blocks of a document.
fn policies(document: &str) -> Vec<String> {
    let text = fs::read_to_string(document).expect("the tests run in the package's folder");
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("[[")).map(str::to_owned).collect()
}

#[test]
fn the_policies_of_the_readme_are_taken_without_a_warning() {
    let policies = policies("README.md");
    assert_eq!(policies.len(), 3);
    let options = Options { has_gateway: true, ..Options::default() };
    for policy in policies {
        let compiled = load(vec![Source::new("README.toml", policy)], &options, SystemTime::now());
        let shown = |diagnostics: Vec<pullgate::diagnostic::Diagnostic>| {
            diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let compiled = compiled.map_err(shown).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(shown(compiled.warnings), "");
    }
}

#[test]
fn the_images_of_the_policys_page_are_taken_without_a_warning() {
    let registry = "version = 1\n[[registry]]\npreset = \"docker-hub\"\npath = \"inspect\"\n";
    let images = policies("docs/policy.md").into_iter().find(|policy| policy.contains("[[images]]"));
    let source = Source::new("policy.toml", format!("{registry}{}", images.expect("the page shows one")));
    let options = Options { has_gateway: true, strict: true, ..Options::default() };
    assert!(load(vec![source], &options, SystemTime::now()).is_ok());
}

/// The anchors of a document's headings: lower-case, blanks as `-`, other signs dropped.
fn anchors(document: &str) -> Vec<String> {
    let text = fs::read_to_string(document).expect("the tests run in the package's folder");
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|character| character.is_alphanumeric() || "-_".contains(*character)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_section_that_doctor_names_is_in_the_readme() {
    let anchors = anchors("README.md");
    let missing =
        Section::ALL.into_iter().map(Section::anchor).filter(|anchor| !anchors.iter().any(|has| has == anchor));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_pages_that_the_documents_name_exist() {
    let files = fs::read_dir("docs").expect("the tests run in the package's folder").map(|file| file.unwrap().path());
    let is_page = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let pages: Vec<String> = files.filter(is_page).map(|path| path.to_string_lossy().into_owned()).collect();
    assert!(pages.len() > 5, "{pages:?}");
    let on_top = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(str::to_owned);
    for document in on_top.iter().chain(&pages) {
        let text = fs::read_to_string(document).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            assert!(leads_somewhere(document, link), "{document} links to {link}");
        }
    }
}

/// Whether a link of a document leads to a file, and to a heading there if it names one.
fn leads_somewhere(document: &str, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let folder = Path::new(document).parent().expect("a document is a file");
    let target = if path.is_empty() { document.into() } else { folder.join(path) };
    let has = |anchor: &str| anchors(&target.to_string_lossy()).iter().any(|has| has == anchor);
    target.exists() && anchor.is_none_or(has)
}

/// What the commands of a document's console block print, and the commands.
fn console(document: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(document).expect("the tests run in the package's folder");
    let section = text.split_once(heading).expect("the section is there").1;
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks = section.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn the_walk_through_of_the_readme_is_what_the_lab_saw() {
    let seen = fs::read_to_string("tests/lab/golden/missing-host.txt").expect("the lab's file is there");
    let lines = console("README.md", "## The morning after");
    assert!(lines.len() > 20, "{} lines", lines.len());
    // Long lines are broken where a reader's window ends.
    let seen = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_new = |line: &&String| !seen.contains(&line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(lines.iter().filter(is_new).collect::<Vec<_>>(), [""; 0]);
}
