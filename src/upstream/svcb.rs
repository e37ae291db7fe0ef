//! The address hints of SVCB and HTTPS records (RFC 9460 §7.3), read and taken out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses::is_private;
use super::wire::{Malformed, plain_name, read_u16};

/// The addresses that a record's data hints at.
pub(super) fn hints(data: &[u8]) -> Result<Vec<IpAddr>, Malformed> {
    let mut addresses = Vec::new();
    for parameter in parameters(data)?.1 {
        let (key, value) = parameter?;
        addresses.extend(hinted(key, value)?);
    }
    Ok(addresses)
}

/// The data without hints at private addresses; `None` if the record cannot stand without them.
pub(super) fn without_private_hints(data: &[u8]) -> Option<Vec<u8>> {
    let (head, parameters) = parameters(data).ok()?;
    let mut kept = head.to_vec();
    let mut mandatory: &[u8] = &[];
    for parameter in parameters {
        let (key, value) = parameter.ok()?;
        if key == MANDATORY {
            mandatory = value;
        }
        let public: Vec<u8> = if matches!(key, IPV4_HINT | IPV6_HINT) {
            hinted(key, value).ok()?.into_iter().filter(|address| !is_private(*address)).flat_map(octets).collect()
        } else {
            value.to_vec()
        };
        let emptied = public.is_empty() && !value.is_empty();
        if emptied && mandatory.chunks_exact(2).any(|listed| listed == key.to_be_bytes()) {
            return None;
        }
        if !emptied {
            kept.extend_from_slice(&key.to_be_bytes());
            kept.extend_from_slice(&u16::try_from(public.len()).ok()?.to_be_bytes());
            kept.extend_from_slice(&public);
        }
    }
    Some(kept)
}

type Parameter<'a> = Result<(u16, &'a [u8]), Malformed>;

/// Priority and target name as they stand, then the parameters one by one.
fn parameters(data: &[u8]) -> Result<(&[u8], impl Iterator<Item = Parameter<'_>>), Malformed> {
    let (_, mut at) = plain_name(data, 2)?;
    let head = &data[..at];
    let next = move || {
        (at < data.len()).then(|| {
            let parameter = parameter(data, at);
            at = parameter.map_or(data.len(), |(_, value)| at + 4 + value.len());
            parameter
        })
    };
    Ok((head, std::iter::from_fn(next)))
}

fn parameter(data: &[u8], at: usize) -> Parameter<'_> {
    let length = usize::from(read_u16(data, at + 2)?);
    let value = data.get(at + 4..at + 4 + length).ok_or(Malformed)?;
    Ok((read_u16(data, at)?, value))
}

fn hinted(key: u16, value: &[u8]) -> Result<Vec<IpAddr>, Malformed> {
    let (addresses, rest): (Vec<IpAddr>, &[u8]) = match key {
        IPV4_HINT => {
            let (whole, rest) = value.as_chunks::<4>();
            (whole.iter().map(|octets| Ipv4Addr::from(*octets).into()).collect(), rest)
        }
        IPV6_HINT => {
            let (whole, rest) = value.as_chunks::<16>();
            (whole.iter().map(|octets| Ipv6Addr::from(*octets).into()).collect(), rest)
        }
        _ => (Vec::new(), &[]),
    };
    if rest.is_empty() { Ok(addresses) } else { Err(Malformed) }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Keys that a client must understand (RFC 9460 §8).
const MANDATORY: u16 = 0;
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Priority 1, target `.`, then parameters of one key and value each.
    fn record(parameters: &[(u16, &[u8])]) -> Vec<u8> {
        let mut data = vec![0, 1, 0];
        for (key, value) in parameters {
            data.extend_from_slice(&key.to_be_bytes());
            data.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            data.extend_from_slice(value);
        }
        data
    }

    #[test]
    fn private_hints_go_and_public_ones_stay() {
        let data = record(&[(1, b"\x02h2"), (IPV4_HINT, &[10, 0, 0, 1, 1, 1, 1, 1])]);
        assert_eq!(without_private_hints(&data).unwrap(), record(&[(1, b"\x02h2"), (IPV4_HINT, &[1, 1, 1, 1])]));
    }

    #[test]
    fn a_hint_that_is_all_private_goes_whole() {
        let data = record(&[(1, b"\x02h2"), (IPV4_HINT, &[127, 0, 0, 1])]);
        assert_eq!(without_private_hints(&data).unwrap(), record(&[(1, b"\x02h2")]));
    }

    #[test]
    fn a_record_that_must_have_its_hint_goes_with_it() {
        let data = record(&[(MANDATORY, &[0, 4]), (IPV4_HINT, &[127, 0, 0, 1])]);
        assert_eq!(without_private_hints(&data), None);
    }

    #[test]
    fn a_hint_that_is_no_whole_address_is_malformed() {
        assert_eq!(hints(&record(&[(IPV4_HINT, &[1, 2, 3])])), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_private_hint_survives(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for data in [bytes.clone(), [&[0, 1, 0, 0, 4, 0, 8][..], &bytes].concat()] {
                if let Some(kept) = without_private_hints(&data) {
                    prop_assert!(hints(&kept).unwrap().into_iter().all(|address| !is_private(address)));
                }
            }
        }
    }
}
