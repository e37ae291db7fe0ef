//! DNS record types by name and number, for what people write and read.
//!
//! The numbers are IANA's (Domain Name System Parameters, "Resource Record (RR) TYPEs"); any other is written `TYPE65280`
//! (RFC 3597 §5).

use std::borrow::Cow;

/// An IPv4 address (RFC 1035 §3.4.1).
pub const A: u16 = 1;
/// An IPv6 address (RFC 3596).
pub const AAAA: u16 = 28;

/// The number of a type written by name or as `TYPE123`, in any case; `None` when there is no such type.
pub fn number(name: &str) -> Option<u16> {
    let upper = name.to_ascii_uppercase();
    if let Some(&(number, _)) = TYPES.iter().find(|(_, known)| *known == upper) {
        return Some(number);
    }
    let digits = upper.strip_prefix("TYPE")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The number of a type that names can have, or what is wrong and what would do.
///
/// # Errors
/// Unknown names, and types that stand for questions or for a message's own records, such as `ANY` or `OPT`.
pub fn parse(name: &str) -> Result<u16, (String, String)> {
    match number(name) {
        Some(number) if !is_meta(number) => Ok(number),
        Some(_) => {
            Err((format!("no name has records of type {name}"), "write types of data, such as `A` or `TXT`".into()))
        }
        None => Err((
            format!("unknown record type `{name}`"),
            "write a name such as `AAAA`, or a number as `TYPE65`".into(),
        )),
    }
}

/// The name of a type; `TYPE123` when it has none.
pub fn name(number: u16) -> Cow<'static, str> {
    match TYPES.binary_search_by_key(&number, |&(known, _)| known) {
        Ok(index) => Cow::Borrowed(TYPES[index].1),
        Err(_) => Cow::Owned(format!("TYPE{number}")),
    }
}

/// The names of all types that have one, by number.
pub fn names() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|&(_, name)| name)
}

/// Whether the number stands for a question or a message's own record (RFC 6895 §3.1), not for data a name can have.
pub fn is_meta(number: u16) -> bool {
    matches!(number, 0 | 41 | 128..=255)
}

const TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (22, "NSAP"),
    (23, "NSAP-PTR"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (27, "GPOS"),
    (28, "AAAA"),
    (29, "LOC"),
    (30, "NXT"),
    (31, "EID"),
    (32, "NIMLOC"),
    (33, "SRV"),
    (34, "ATMA"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (38, "A6"),
    (39, "DNAME"),
    (40, "SINK"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (56, "NINFO"),
    (57, "RKEY"),
    (58, "TALINK"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (259, "DOA"),
    (260, "AMTRELAY"),
    (261, "RESINFO"),
    (262, "WALLET"),
    (32768, "TA"),
    (32769, "DLV"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_from_its_name() {
        for number_ in 0..=u16::MAX {
            assert_eq!(number(&name(number_)), Some(number_));
        }
    }

    #[test]
    fn names_are_read_in_any_case_and_by_number() {
        assert_eq!([number("aaaa"), number("TYPE65"), number("type65280")], [Some(28), Some(65), Some(65280)]);
        for wrong in ["", "TYPE", "TYPE65536", "TYPE+1", "AAAAA", "28"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_policy_takes_types_of_data_only() {
        assert_eq!(parse("txt"), Ok(16));
        assert!(parse("ANY").is_err() && parse("AXFR").is_err() && parse("AAAAA").is_err());
    }

    #[test]
    fn questions_about_messages_are_not_data() {
        assert!([41, 251, 252, 255].into_iter().all(is_meta));
        assert!(![1, 28, 64, 65, 257].into_iter().any(is_meta));
    }
}
