//! What verdicts on images say: words for metrics and other programs, sentences for people.

use std::fmt;

use super::{Access, Badge, Category, Cause, Ground, ImageDenial, ImagePermit, ImageVerdict, Key, Listing, TABLE};
use crate::diagnostic::Place;
use crate::policy::repository::Repository;

impl<'s> ImagePermit<'s> {
    /// One word for metrics and machine-readable output.
    pub fn word(self) -> &'static str {
        match self.ground {
            Ground::Exempt => "exempt",
            Ground::Push => "push",
            Ground::Allow => "allow",
            Ground::Organization => "organization",
            Ground::Category(category) => category.word(),
            Ground::Listing(listing) => listing.word(),
        }
    }

    /// The key that decided.
    pub fn key(self) -> &'s Key {
        self.key
    }

    /// Where that is written.
    pub fn place(self) -> Option<Place> {
        Some(self.key.place.clone())
    }
}

impl<'s> ImageDenial<'s> {
    /// One word for metrics and machine-readable output.
    pub fn word(self) -> &'static str {
        match self.cause {
            Cause::NoTable => "no-images",
            Cause::Listed => "listed",
            Cause::Push => "push",
            Cause::Category(category) => category.word(),
            Cause::Unlisted => "unlisted",
            Cause::Listing(listing) => listing.word(),
        }
    }

    /// The key that decided; of what no key allows, the table.
    pub fn key(self) -> Option<&'s Key> {
        self.key
    }

    /// Where that is written; `None`: no table is for the client.
    pub fn place(self) -> Option<Place> {
        self.key.map(|key| key.place.clone())
    }

    /// The line of the table with which the request would be let through; `None`: it is denied by name, or there is no
    /// table.
    pub fn remedy(self) -> Option<String> {
        let repository = self.repository.map(Repository::as_str).unwrap_or_default();
        match self.cause {
            Cause::NoTable | Cause::Listed => None,
            Cause::Push => Some(format!("push = [\"{repository}\"]")),
            Cause::Unlisted | Cause::Category(Category::Community) => Some(format!("allow = [\"{repository}\"]")),
            Cause::Category(_) | Cause::Listing(_) => self.key.map(|key| format!("{} = \"allow\"", key.name)),
        }
    }
}

impl Access {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }

    /// The one of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Pull, Self::Push].into_iter().find(|access| access.word() == word)
    }
}

impl Badge {
    /// What the Hub said of an image's namespace, if it was decided on for this reason, in a word; `None`: the word does
    /// not tell.
    pub fn told_by(reason: &str) -> Option<Self> {
        Category::from_word(reason).and_then(Category::badge)
    }
}

impl Category {
    fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Official, Self::VerifiedPublisher, Self::SponsoredOss, Self::Community];
        all.into_iter().find(|category| category.word() == word)
    }

    /// What the Hub says of the namespaces of such images.
    fn badge(self) -> Option<Badge> {
        match self {
            Self::Official => None,
            Self::VerifiedPublisher => Some(Badge::VerifiedPublisher),
            Self::SponsoredOss => Some(Badge::SponsoredOss),
            Self::Community => Some(Badge::Unbadged),
        }
    }

    /// One word for metrics and machine-readable output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::VerifiedPublisher => "verified-publisher",
            Self::SponsoredOss => "sponsored-oss",
            Self::Community => "community",
        }
    }
}

impl Listing {
    /// One word for metrics and machine-readable output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Search => "search",
        }
    }
}

impl fmt::Display for Key {
    /// As it may be written: `allow = "prom/*"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.name) {
            (Some(value), TABLE) => write!(f, "[[{TABLE}]] of {value}"),
            (Some(value), name) => write!(f, "{name} = \"{value}\""),
            (None, name) => write!(f, "{name} is not written"),
        }
    }
}

impl fmt::Display for Category {
    /// What people call its images.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "official images",
            Self::VerifiedPublisher => "verified publisher images",
            Self::SponsoredOss => "sponsored open source images",
            Self::Community => "community images",
        })
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Catalog => "listing repositories",
            Self::Search => "searching",
        })
    }
}

impl fmt::Display for ImageVerdict<'_> {
    /// The reason, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(permit) => permit.fmt(f),
            Self::Deny(denial) | Self::Audit(denial) => denial.fmt(f),
            Self::NeedsBadge => f.write_str("the namespace's badge is not known"),
        }
    }
}

impl fmt::Display for ImagePermit<'_> {
    /// The reason, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ground {
            Ground::Exempt => f.write_str("the client is exempt"),
            Ground::Push => f.write_str("the repository may be pushed to"),
            Ground::Allow => f.write_str("the repository is allowed"),
            Ground::Organization => f.write_str("images of the organization are allowed"),
            Ground::Category(category) => write!(f, "{category} are allowed"),
            Ground::Listing(listing) => write!(f, "{listing} is allowed"),
        }
    }
}

impl fmt::Display for ImageDenial<'_> {
    /// The reason, in a few words: what follows "image access denied: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.repository.map_or(self.registry, Repository::as_str);
        match self.cause {
            Cause::NoTable => write!(f, "no images of {} are allowed to this client", self.registry),
            Cause::Listed => write!(f, "{subject} is denied"),
            Cause::Push => write!(f, "push to {subject} not allowed"),
            Cause::Category(category) => write!(f, "{category} not allowed"),
            Cause::Unlisted => write!(f, "{subject} is not among the allowed repositories"),
            Cause::Listing(listing) => write!(f, "{listing} not allowed"),
        }
    }
}
