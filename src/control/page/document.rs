//! The page itself: one document with its style and its script in it, and the policy under which a browser runs no other.

use std::sync::LazyLock;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

/// The document.
pub(super) fn html() -> &'static str {
    &DOCUMENT
}

/// What a browser may do for it (Content Security Policy): run this style and this script, and ask the page's own server.
pub(super) fn policy() -> &'static str {
    &POLICY
}

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| HTML.replacen(STYLE_HERE, STYLE, 1).replacen(SCRIPT_HERE, SCRIPT, 1));

static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        source(STYLE),
        source(SCRIPT)
    )
});

/// A text as a source of a policy: by its hash.
fn source(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text)))
}

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Where the style and the script stand in the document.
const STYLE_HERE: &str = "@style";
const SCRIPT_HERE: &str = "@script";

#[cfg(test)]
mod tests {
    use super::*;

    /// What names SVG, and is asked for nothing.
    const NAMESPACE: &str = "www.w3.org/2000/svg";

    #[test]
    fn the_document_is_whole_and_asks_nobody_else_for_anything() {
        let html = html();
        assert!(
            html.contains(&format!("<style>{STYLE}</style>"))
                && html.contains(&format!("<script type=\"module\">{SCRIPT}</script>"))
        );
        assert!(!html.contains(STYLE_HERE) && !html.contains(SCRIPT_HERE));
        let urls = html.split("://").skip(1).filter(|rest| rest.starts_with(char::is_alphanumeric));
        let elsewhere: Vec<&str> = urls.filter(|rest| !rest.starts_with(NAMESPACE)).collect();
        assert_eq!(elsewhere, [""; 0]);
        assert!(!html.contains(" src=") && !html.contains("@import") && !html.contains(" style="));
    }

    #[test]
    fn the_script_puts_no_text_in_as_markup_and_ends_where_it_ends() {
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "</", "<!--"] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        assert!(!STYLE.contains('<'));
    }

    #[test]
    fn the_policy_runs_what_is_in_the_document_and_nothing_else() {
        let policy = policy();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    }
}
