//! Numbers and frames of the protocol.

/// Microseconds from Unix's epoch to that of PostgreSQL, 2000-01-01.
pub const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Requests that have a number in the place of a version.
pub(super) const VERSION: u32 = 0x0003_0000;
pub(super) const SSL_REQUEST: u32 = 80_877_103;
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;

/// A type and a length.
pub(super) const HEADER_BYTES: usize = 5;
/// Longer messages are of these types only, as libpq has it.
const LONG_TYPES: &[u8] = b"TDdVENA";
const SHORT_BYTES_MAX: usize = 30_000;
/// A row, or the rows of one response in one message: 2 million scores have less. The driver holds a message whole, so this bounds
/// what a server whose messages never end can make it hold.
const LONG_BYTES_MAX: usize = 96 << 20;

/// The length of a message's body, where a server may send such a message.
pub(super) fn body_bytes(header: [u8; HEADER_BYTES]) -> Result<usize, String> {
    let [kind, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    let bound = if LONG_TYPES.contains(&kind) { LONG_BYTES_MAX } else { SHORT_BYTES_MAX };
    match length.checked_sub(4) {
        Some(body) if kind.is_ascii_alphanumeric() && body <= bound => Ok(body),
        _ => Err(format!(
            "a message of type {:?} says that it has {length} bytes, more than {bound}: this is no PostgreSQL server, or all rows of one \
             response are more than recount takes",
            char::from(kind)
        )),
    }
}

/// A message of ours.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("invariant: our own messages are short");
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// A request without a type, as sessions begin with.
pub(super) fn request(number: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("invariant: our own messages are short");
    [&length.to_be_bytes()[..], &number.to_be_bytes(), body].concat()
}

/// An error as a server would send it, for the driver behind a [relay](super::relay).
pub(super) fn error(code: &str, text: &str) -> Vec<u8> {
    let text = text.replace('\0', " ");
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

/// A field of an error or a notice of the server.
pub(super) fn field(body: &[u8], wanted: u8) -> Option<String> {
    body.split(|byte| *byte == 0)
        .find_map(|field| field.strip_prefix(&[wanted]))
        .map(|text| String::from_utf8_lossy(text).into_owned())
}

/// Follows the messages of one direction, of which parts arrive.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Vec<u8>,
    /// Bytes of the current body that are still to come.
    rest: usize,
    /// The current body is one of a COPY.
    copies: bool,
}

/// The type of a message that carries bytes of a COPY.
const COPY_DATA: u8 = b'd';

impl Frames {
    /// Looks at the next bytes, calls `seen` with the type of each message that begins in them, and puts into `passed` what is to be
    /// passed on. Gives how many bytes that was: not those of a header that is not whole yet, since its length is not known.
    ///
    /// What is there of the bytes of a COPY becomes one message. The server sends one a row, and the driver would handle each by itself,
    /// and hold a long one whole.
    pub fn feed(&mut self, mut bytes: &[u8], passed: &mut Vec<u8>, mut seen: impl FnMut(u8)) -> Result<usize, String> {
        let whole = bytes.len();
        passed.clear();
        // Where the message begins that takes the bytes of a COPY.
        let mut joined = None;
        loop {
            let (body, next) = bytes.split_at(self.rest.min(bytes.len()));
            if self.copies && !body.is_empty() && joined.is_none() {
                joined = Some(passed.len());
                passed.extend([COPY_DATA, 0, 0, 0, 0]);
            }
            passed.extend_from_slice(body);
            (self.rest, bytes) = (self.rest - body.len(), next);
            let header = bytes.first_chunk::<HEADER_BYTES>();
            if header.is_none_or(|header| header[0] != COPY_DATA)
                && let Some(begin) = joined.take()
            {
                let length = u32::try_from(passed.len() - begin - 1).expect("invariant: a buffer is short");
                passed[begin + 1..begin + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
            }
            let Some(header) = header else { return Ok(whole - bytes.len()) };
            self.rest = body_bytes(*header)?;
            self.copies = header[0] == COPY_DATA;
            seen(header[0]);
            if !self.copies {
                passed.extend_from_slice(header);
            }
            bytes = &bytes[HEADER_BYTES..];
        }
    }

    /// Bytes of the current message that are still to come and that the driver holds until the last has come.
    pub fn held(&self) -> usize {
        if self.copies { 0 } else { self.rest }
    }

    /// The same for what is ours and is passed on at once: a header that is cut is kept here until the rest of it comes.
    pub fn note(&mut self, bytes: &[u8], mut seen: impl FnMut(u8, &[u8])) {
        let all = [&std::mem::take(&mut self.header)[..], bytes].concat();
        // The driver's messages are well formed; COPY sends some that no server would send, of any length.
        let mut rest = &all[..];
        loop {
            let skipped = self.rest.min(rest.len());
            (self.rest, rest) = (self.rest - skipped, &rest[skipped..]);
            let Some(([kind, length @ ..], body)) = rest.split_first_chunk::<HEADER_BYTES>() else { break };
            self.rest = (u32::from_be_bytes(*length) as usize).saturating_sub(4);
            seen(*kind, &body[..self.rest.min(body.len())]);
            rest = body;
        }
        self.header = rest.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of a stream that arrives in two parts, and which messages were seen.
    fn passed_on(stream: &[u8], cut: usize) -> (Vec<u8>, String) {
        let (mut frames, mut seen, mut held) = (Frames::default(), String::new(), Vec::new());
        let (mut all, mut passed) = (Vec::new(), Vec::new());
        for part in [&stream[..cut], &stream[cut..]] {
            held.extend_from_slice(part);
            let taken = frames.feed(&held, &mut passed, |kind| seen.push(char::from(kind))).unwrap();
            held.drain(..taken);
            all.extend_from_slice(&passed);
        }
        assert!(held.is_empty(), "cut at {cut}");
        (all, seen)
    }

    #[test]
    fn messages_are_followed_and_passed_on_however_they_are_cut() {
        let stream = [message(b'D', b"hello"), message(b'C', b""), message(b'Z', b"I")].concat();
        for cut in 1..stream.len() {
            assert_eq!(passed_on(&stream, cut), (stream.clone(), "DCZ".to_owned()), "cut at {cut}");
        }
    }

    #[test]
    fn the_bytes_of_a_copy_are_joined_however_they_are_cut() {
        let rows = [message(b'd', b"one"), message(b'd', b""), message(b'd', b"two, longer")].concat();
        let notice = message(b'N', b"dd");
        let stream = [message(b'H', b"\0"), rows, notice.clone(), message(b'd', b"three"), message(b'c', b"")].concat();
        let joined =
            [message(b'H', b"\0"), message(b'd', b"onetwo, longer"), notice, message(b'd', b"three"), message(b'c', b"")];
        assert_eq!(passed_on(&stream, stream.len()).0, joined.concat());
        for cut in 1..stream.len() {
            let (all, seen) = passed_on(&stream, cut);
            assert_eq!(seen, "HdddNdc", "cut at {cut}");
            let bodies = bodies(&all);
            assert!(bodies.len() <= 3, "a cut makes two messages of one at most: cut at {cut}");
            assert_eq!(bodies.concat(), b"onetwo, longerthree", "cut at {cut}");
        }
    }

    /// The bodies of the messages of a COPY.
    fn bodies(mut stream: &[u8]) -> Vec<&[u8]> {
        let mut bodies = Vec::new();
        while let Some((header, rest)) = stream.split_first_chunk::<HEADER_BYTES>() {
            let (body, next) = rest.split_at(body_bytes(*header).unwrap());
            if header[0] == COPY_DATA {
                bodies.push(body);
            }
            stream = next;
        }
        bodies
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        for length in [0u32, 1, 3, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let header = [&b"D"[..], &length.to_be_bytes()].concat();
            assert!(Frames::default().feed(&header, &mut Vec::new(), |_| {}).is_err(), "{length}");
        }
        let refuses = |bytes: &[u8]| Frames::default().feed(bytes, &mut Vec::new(), |_| {}).is_err();
        assert!(refuses(b"Z\0\x10\0\0"), "no such message is so long");
        assert!(refuses(b"HTTP/1.1 400"));
    }

    #[test]
    fn fields_of_an_error_are_found() {
        let error = error("08006", "gone");
        assert_eq!(field(&error[HEADER_BYTES..], b'C').as_deref(), Some("08006"));
        assert_eq!(field(&error[HEADER_BYTES..], b'M').as_deref(), Some("gone"));
        assert_eq!(field(&error[HEADER_BYTES..], b'H'), None);
    }
}
