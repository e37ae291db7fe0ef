//! A query as a server gets it, and what a response is to it.

use super::wire::{CD, HEADER, Message, QR, RD, kind, rcode};
use super::{Dnssec, Question};

/// The letters of the question as sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Letters {
    /// Upper and lower case at random: up to one bit a letter that a forger has to guess.
    Mixed,
    Lower,
}

/// Whether a query has an OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edns {
    Yes,
    /// For servers from before RFC 2671.
    No,
}

/// A query as sent: header, question, OPT record if any.
pub(super) struct Query {
    bytes: Vec<u8>,
    question_end: usize,
}

/// What an arrived message is to a query.
pub(super) enum Reply<'a> {
    Ours(Message<'a>),
    /// Right but for the letters: from a server that changes them, or from a forger.
    OtherLetters(Message<'a>),
    /// A header that says, with this code, that the query was not understood.
    NotUnderstood(u16),
    Foreign,
}

impl Query {
    /// The query for a question, with a new random id.
    pub(super) fn new(question: &Question, letters: Letters, edns: Edns) -> Self {
        let Dnssec { ok, checking_disabled } = question.dnssec;
        let flags = if checking_disabled { RD | CD } else { RD };
        let mut bytes = Vec::with_capacity(HEADER + question.name.as_wire().len() + 15);
        for value in [rand::random(), flags, 1, 0, 0, u16::from(edns == Edns::Yes)] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.extend_from_slice(question.name.as_wire());
        if let Letters::Mixed = letters {
            mix_case(&mut bytes[HEADER..]);
        }
        for value in [question.record_type, kind::CLASS_IN] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        let question_end = bytes.len();
        if edns == Edns::Yes {
            bytes.push(0);
            for value in [kind::OPT, UDP_PAYLOAD, 0, if ok { DO } else { 0 }, 0] {
                bytes.extend_from_slice(&value.to_be_bytes());
            }
        }
        Self { bytes, question_end }
    }

    /// The id.
    pub(super) fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Takes another random id.
    pub(super) fn renew_id(&mut self) {
        self.bytes[..2].copy_from_slice(&rand::random::<u16>().to_be_bytes());
    }

    /// The message.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a response is to this question, in whatever letters.
    pub(super) fn asks_what(&self, response: &Message<'_>) -> bool {
        let (name, rest) = split_question(self.question());
        let (echoed, echoed_rest) = split_question(response.question());
        echoed.eq_ignore_ascii_case(name) && echoed_rest == rest
    }

    /// The code of a header without a question, as servers send it that could not read the query.
    fn read_bare(&self, response: &[u8]) -> Option<u16> {
        let header: &[u8; HEADER] = response.try_into().ok()?;
        let [flags, code] = [u16::from_be_bytes([header[2], header[3]]), u16::from(header[3] & 0x0f)];
        let answers_this = header[..2] == self.bytes[..2] && flags & QR != 0 && header[4..] == [0; 8];
        (answers_this && matches!(code, rcode::FORMERR | rcode::NOTIMP)).then_some(code)
    }

    /// The question as it stands, in the letters that were sent: name, type, class.
    pub(super) fn question(&self) -> &[u8] {
        &self.bytes[HEADER..self.question_end]
    }

    /// What a response is to this query.
    pub(super) fn recognise<'a>(&self, response: &'a [u8]) -> Reply<'a> {
        let Ok(message) = Message::parse(response) else {
            return self.read_bare(response).map_or(Reply::Foreign, Reply::NotUnderstood);
        };
        if message.id().to_be_bytes() != self.bytes[..2] || !self.asks_what(&message) {
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
    for part in name.chunks_mut(64) {
        let mut coins: u64 = rand::random();
        for byte in part {
            // Without a branch: nobody foresees a coin.
            *byte ^= u8::from(byte.is_ascii_lowercase() && coins & 1 == 1) << 5;
            coins >>= 1;
        }
    }
}

/// What fits every path without fragments (RFC 9715).
const UDP_PAYLOAD: u16 = 1232;
/// OPT flag: DNSSEC records are wanted (RFC 3225).
const DO: u16 = 0x8000;
