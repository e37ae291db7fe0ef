//! The `[[assert]]` tables of a policy file.

use std::net::IpAddr;

use super::choice;
use crate::name::DomainName;
use crate::policy::document::{Askers, AssertSpec, AssertSubject, Expectation, Written};
use crate::policy::image_reference::ImageReference;
use crate::tree::{Node, Report, Table};

pub(super) fn read(mut table: Table<'_>, report: &mut Report<'_>) -> AssertSpec {
    let span = table.span();
    let subject = read_subject(&mut table, report);
    let askers = read_askers(&mut table, report);
    let expect = table.require("expect", "\"deny\"", report).and_then(|expect| choice(expect, EXPECTATIONS, report));
    table.finish(report);
    AssertSpec { subject, askers, expect: expect.unwrap_or(Written { value: Expectation::default(), span }) }
}

fn read_subject(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<AssertSubject> {
    let push = table.take("push");
    match (table.take("name"), table.take("image")) {
        (Some(name), None) => {
            if let Some(push) = push {
                report.fault(push.span, "`push` belongs to an image", "write `image = …` instead of `name`");
            }
            name.parsed(report, read_name).map(|name| AssertSubject::Name(name.value))
        }
        (None, Some(image)) => {
            let push = push.and_then(|push| push.boolean(report)).unwrap_or_default();
            image.parsed(report, read_image).map(|image| AssertSubject::Image { image: image.value, push })
        }
        (Some(_), Some(image)) => {
            report.fault(image.span, "a name and an image", "keep one of them, or write two `[[assert]]`");
            None
        }
        (None, None) => {
            let hint = "write `name = \"quay.io\"`, or `image = \"docker.io/library/nginx\"`";
            report.fault(table.span(), "an assertion about nothing", hint);
            None
        }
    }
}

fn read_askers(table: &mut Table<'_>, report: &mut Report<'_>) -> Askers {
    match (table.take("client"), table.take("group")) {
        (Some(client), None) => {
            client.parsed(report, read_client).map_or(Askers::Everyone, |client| Askers::Client(client.value))
        }
        (None, Some(group)) => Node::name(group, report).map_or(Askers::Everyone, Askers::Group),
        (Some(_), Some(group)) => {
            report.fault(
                group.span,
                "a client and a group",
                "keep one of them: a client's group follows from its address",
            );
            Askers::Everyone
        }
        (None, None) => Askers::Everyone,
    }
}

fn read_name(text: &str) -> Result<DomainName, (String, String)> {
    text.parse()
        .map_err(|error| (format!("`{text}` is not a name: {error}"), "write a host name, as in `quay.io`".to_owned()))
}

fn read_image(text: &str) -> Result<ImageReference, (String, String)> {
    ImageReference::parse(text).map_err(|fault| (fault.message, fault.hint))
}

fn read_client(text: &str) -> Result<IpAddr, (String, String)> {
    text.parse()
        .map_err(|_| (format!("`{text}` is not an address"), "write one client's, as in `10.20.0.5`".to_owned()))
}

const EXPECTATIONS: &[(&str, Expectation)] =
    &[("allow", Expectation::Allow), ("deny", Expectation::Deny), ("audit", Expectation::Audit)];
