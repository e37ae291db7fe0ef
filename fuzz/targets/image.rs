//! Any text as an image, as a repository's name and as a pattern: what is read is well formed, and reads again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::policy::image_reference::ImageReference;
use pullgate::policy::repository::{MAX_REPOSITORY, Repository, RepositoryPattern};

fuzz_target!(|text: &str| {
    if let Ok(image) = ImageReference::parse(text) {
        assert_eq!(ImageReference::parse(&image.to_string()).as_ref(), Ok(&image), "{image}");
        check(&image.repository);
    }
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let repository = Repository::parse(name);
    if let Ok(repository) = &repository {
        assert_eq!(repository.as_str(), name);
        check(repository);
        assert!(RepositoryPattern::of(repository).matches(repository));
    }
    if let (Ok(pattern), Ok(repository)) = (RepositoryPattern::parse(pattern), &repository) {
        let matches = pattern.matches(repository);
        assert!(
            pattern.exact().is_none_or(|exact| matches == (exact == repository.as_str())),
            "{pattern} {repository}"
        );
        assert!(!matches || pattern.depth().is_none_or(|depth| depth == repository.segments().count()));
    }
});

/// What a name never has, whatever it was read from: the gateway forwards it as a path.
fn check(repository: &Repository) {
    let text = repository.as_str();
    assert!(!text.is_empty() && text.len() <= MAX_REPOSITORY);
    assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte)));
    assert!(repository.segments().all(|segment| !segment.is_empty() && !segment.starts_with('.')));
}
