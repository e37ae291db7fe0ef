//! What the policy in force makes of one name or image, for the control API and the page.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hyper::StatusCode;

use crate::control::api::{Api, BadRequest, Parameters, aside, defect};
use crate::control::explain::{self, ImageQuestion, OnBehalf, Question};
use crate::control::overlay::overlays;
use crate::observe::http::{self, Reply};
use crate::observe::recent::{CAPACITY, Filter};
use crate::policy::image_reference::ImageReference;
use crate::policy::images::Access;
use crate::record_type;

/// `GET /v1/check`.
pub(super) async fn check(api: &Arc<Api>, query: &Parameters) -> Result<Reply, BadRequest> {
    if query.value("image").is_some() {
        return check_image(api, query).await;
    }
    query.only(&["name", "client", "group", "type"])?;
    let question = Question {
        name: query.parsed("name", "a name")?.ok_or(BadRequest::Missing("name"))?,
        record_type: record_type(query)?,
        on_behalf: on_behalf(query)?,
    };
    let client = match question.on_behalf {
        OnBehalf::Client(client) => Some(client.to_canonical()),
        OnBehalf::Group(_) => None,
    };
    let api = Arc::clone(api);
    let report = aside(move || {
        let report = explain::check(&api.policy.current().snapshot, &question, &api.record_types)?;
        let filter = Filter { name: Some(question.name), ..Filter::default() };
        let report = report.with_log(&api.recent.last(CAPACITY, &filter));
        let report = report.with_overlays(&overlays(&api), client).with_contact(api.contact.as_deref());
        Ok::<_, explain::UnknownGroup>(report)
    });
    Ok(match report.await {
        Some(report) => http::json(StatusCode::OK, &report?),
        None => defect(),
    })
}

async fn check_image(api: &Api, query: &Parameters) -> Result<Reply, BadRequest> {
    query.only(&["image", "push", "client", "group"])?;
    let question = ImageQuestion {
        image: image(query)?,
        access: if query.parsed("push", "true or false")? == Some(true) { Access::Push } else { Access::Pull },
        on_behalf: on_behalf(query)?,
    };
    let in_force = api.policy.current();
    let namespace = explain::undecided_namespace(&in_force.snapshot, &question)?;
    let badge = match (namespace, &api.badges) {
        (Some(namespace), Some(badges)) => badges.badge(namespace).await,
        _ => None,
    };
    match aside(move || explain::check_image(&in_force.snapshot, &question, badge)).await {
        Some(report) => Ok(http::json(StatusCode::OK, &report?.with_contact(api.contact.as_deref()))),
        None => Ok(defect()),
    }
}

fn image(query: &Parameters) -> Result<ImageReference, BadRequest> {
    let text = query.value("image").ok_or(BadRequest::Missing("image"))?;
    ImageReference::parse(text).map_err(|_| BadRequest::Wrong { parameter: "image", expected: "an image" })
}

fn record_type(query: &Parameters) -> Result<Option<u16>, BadRequest> {
    let number = |text: &str| {
        record_type::number(text).ok_or(BadRequest::Wrong { parameter: "type", expected: "a record type" })
    };
    query.value("type").map(number).transpose()
}

fn on_behalf(query: &Parameters) -> Result<OnBehalf, BadRequest> {
    if let Some(group) = query.value("group") {
        return Ok(OnBehalf::Group(group.to_owned()));
    }
    let client = query.parsed("client", "an address")?;
    Ok(OnBehalf::Client(client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))))
}
