//! Frame streams, the envelope of dnstap: frames behind their lengths, and control frames behind a length of zero.
//!
//! ```text
//! we:     READY                START  data data … STOP
//! reader:        ACCEPT                                 FINISH        (a reader that does not answer gets START first)
//! ```

/// A control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The reader says what it takes.
    Accept {
        /// Whether dnstap is among it.
        takes_dnstap: bool,
    },
    /// Data follow.
    Start,
    /// No more data follow.
    Stop,
    /// We say what we would send.
    Ready,
    /// The reader has all of it.
    Finish,
}

/// Bytes that are no control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A data frame, or one longer than they are.
    #[error("no control frame")]
    NoControl,
    /// It ends within a field.
    #[error("a control frame cut short")]
    Truncated,
    /// A type or field that there is none of.
    #[error("an unknown control frame")]
    Unknown,
}

impl Control {
    /// Reads what follows the length of a control frame.
    ///
    /// # Errors
    /// It is none.
    pub fn read(body: &[u8]) -> Result<Self, FrameError> {
        let (kind, mut rest) = number(body)?;
        let (mut takes_dnstap, mut fields) = (false, 0);
        while !rest.is_empty() {
            let (field, after) = number(rest)?;
            let (length, after) = number(after)?;
            let length = usize::try_from(length).map_err(|_| FrameError::Truncated)?;
            let (content, after) = after.split_at_checked(length).ok_or(FrameError::Truncated)?;
            if field != CONTENT_TYPE {
                return Err(FrameError::Unknown);
            }
            takes_dnstap |= content == DNSTAP;
            fields += 1;
            rest = after;
        }
        match kind {
            // A reader that names nothing takes everything.
            ACCEPT => Ok(Self::Accept { takes_dnstap: takes_dnstap || fields == 0 }),
            START => Ok(Self::Start),
            STOP => Ok(Self::Stop),
            READY => Ok(Self::Ready),
            FINISH => Ok(Self::Finish),
            _ => Err(FrameError::Unknown),
        }
    }

    /// The whole frame.
    pub fn to_bytes(self) -> Vec<u8> {
        let (kind, names_content) = match self {
            Self::Accept { takes_dnstap } => (ACCEPT, takes_dnstap),
            Self::Start => (START, true),
            Self::Stop => (STOP, false),
            Self::Ready => (READY, true),
            Self::Finish => (FINISH, false),
        };
        let mut body = kind.to_be_bytes().to_vec();
        if names_content {
            body.extend(CONTENT_TYPE.to_be_bytes());
            body.extend(length_of(DNSTAP));
            body.extend(DNSTAP);
        }
        [&[0; 4], &length_of(&body)[..], &body].concat()
    }
}

/// How long the control frame is whose first eight bytes these are.
///
/// # Errors
/// It is none, or longer than any is.
pub fn control_length(head: [u8; 8]) -> Result<usize, FrameError> {
    let (escape, rest) = number(&head)?;
    let (length, _) = number(rest)?;
    let length = usize::try_from(length).map_err(|_| FrameError::NoControl)?;
    if escape != 0 || length > MAX_CONTROL { Err(FrameError::NoControl) } else { Ok(length) }
}

/// Appends a data frame, whose contents `write` appends.
pub(super) fn push_data(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 4]);
    write(bytes);
    let length = length_of(&bytes[start + 4..]);
    bytes[start..start + 4].copy_from_slice(&length);
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), FrameError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(FrameError::Truncated)?;
    Ok((u32::from_be_bytes(*number), rest))
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("a frame holds a DNS message or two").to_be_bytes()
}

/// The longest control frame that readers and writers accept.
pub const MAX_CONTROL: usize = 512;
const DNSTAP: &[u8] = b"protobuf:dnstap.Dnstap";
const CONTENT_TYPE: u32 = 1;
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for control in
            [Control::Accept { takes_dnstap: true }, Control::Start, Control::Stop, Control::Ready, Control::Finish]
        {
            let bytes = control.to_bytes();
            let (head, body) = bytes.split_first_chunk().unwrap();
            assert_eq!((control_length(*head), Control::read(body)), (Ok(body.len()), Ok(control)));
        }
    }

    #[test]
    fn a_reader_may_take_several_things_or_name_none() {
        let other = [&CONTENT_TYPE.to_be_bytes()[..], &[0, 0, 0, 1], b"x"].concat();
        let ours = Control::Ready.to_bytes()[12..].to_vec();
        for (fields, takes_dnstap) in
            [(vec![], true), (other.clone(), false), ([other.clone(), ours.clone()].concat(), true), (ours, true)]
        {
            let body = [&ACCEPT.to_be_bytes()[..], &fields].concat();
            assert_eq!(Control::read(&body), Ok(Control::Accept { takes_dnstap }));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_control_frame_or_none(bytes in prop::collection::vec(any::<u8>(), 0..600), head: [u8; 8]) {
            let _ = Control::read(&bytes);
            prop_assert!(control_length(head).is_ok_and(|length| length <= MAX_CONTROL) || control_length(head).is_err());
        }
    }
}
