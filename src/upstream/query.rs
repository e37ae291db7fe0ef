//! A query as a server gets it, and what a response is to it.

use super::wire::{CD, HEADER, Message, RD, kind};
use super::{Dnssec, Question};

/// The letters of the question as sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Letters {
    /// Upper and lower case at random: up to one bit a letter that a forger has to guess.
    Mixed,
    Lower,
}

/// A query as sent: header, question, OPT record.
pub(super) struct Query(Vec<u8>);

/// What an arrived message is to a query.
pub(super) enum Reply<'a> {
    Ours(Message<'a>),
    /// Right but for the letters: from a server that changes them, or from a forger.
    OtherLetters(Message<'a>),
    Foreign,
}

impl Query {
    /// The query for a question, with a new random id.
    pub(super) fn new(question: &Question, letters: Letters) -> Self {
        let Dnssec { ok, checking_disabled } = question.dnssec;
        let flags = if checking_disabled { RD | CD } else { RD };
        let mut bytes = Vec::with_capacity(HEADER + question.name.as_wire().len() + 15);
        for value in [rand::random(), flags, 1, 0, 0, 1] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.extend_from_slice(question.name.as_wire());
        if let Letters::Mixed = letters {
            mix_case(&mut bytes[HEADER..]);
        }
        for value in [question.record_type, kind::CLASS_IN] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.push(0);
        for value in [kind::OPT, UDP_PAYLOAD, 0, if ok { DO } else { 0 }, 0] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        Self(bytes)
    }

    /// The message.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a response is to this question, in whatever letters.
    pub(super) fn asks_what(&self, response: &Message<'_>) -> bool {
        let (name, rest) = split_question(self.question());
        let (echoed, echoed_rest) = split_question(response.question());
        echoed.eq_ignore_ascii_case(name) && echoed_rest == rest
    }

    fn question(&self) -> &[u8] {
        &self.0[HEADER..self.0.len() - OPT_LENGTH]
    }

    /// What a response is to this query.
    pub(super) fn recognise<'a>(&self, response: &'a [u8]) -> Reply<'a> {
        let Ok(message) = Message::parse(response) else {
            return Reply::Foreign;
        };
        if message.id().to_be_bytes() != self.0[..2] || !self.asks_what(&message) {
            Reply::Foreign
        } else if message.question() == self.question() {
            Reply::Ours(message)
        } else {
            Reply::OtherLetters(message)
        }
    }
}

/// Name, then type and class.
fn split_question(question: &[u8]) -> (&[u8], &[u8]) {
    question.split_at(question.len() - 4)
}

/// Gives each letter of a name a case at random. Length bytes are below the letters, so they stay.
fn mix_case(name: &mut [u8]) {
    let coins: [u8; 32] = rand::random();
    for (index, byte) in name.iter_mut().enumerate() {
        if byte.is_ascii_lowercase() && coins[index / 8] >> (index % 8) & 1 == 1 {
            byte.make_ascii_uppercase();
        }
    }
}

/// What fits every path without fragments (RFC 9715).
const UDP_PAYLOAD: u16 = 1232;
/// An OPT record without options.
const OPT_LENGTH: usize = 11;
/// OPT flag: DNSSEC records are wanted (RFC 3225).
const DO: u16 = 0x8000;
