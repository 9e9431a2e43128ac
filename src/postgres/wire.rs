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
}

impl Frames {
    /// Looks at the next bytes and calls `seen` with the type of each message that begins in them, and with what of its body is there.
    /// Gives how many bytes may be passed on: not those of a header that is not whole yet, since its length is not known.
    pub fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(u8, &[u8])) -> Result<usize, String> {
        let whole = bytes.len();
        loop {
            let skipped = self.rest.min(bytes.len());
            (self.rest, bytes) = (self.rest - skipped, &bytes[skipped..]);
            let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(whole - bytes.len()) };
            self.rest = body_bytes(*header)?;
            seen(header[0], &body[..self.rest.min(body.len())]);
            bytes = body;
        }
    }

    /// Bytes of the current body that are still to come.
    pub fn rest(&self) -> usize {
        self.rest
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

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let stream = [message(b'D', b"hello"), message(b'C', b""), message(b'Z', b"I")].concat();
        for cut in 1..stream.len() {
            let (mut frames, mut seen, mut held) = (Frames::default(), String::new(), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                held.extend_from_slice(part);
                let passed = frames.feed(&held, |kind, _| seen.push(char::from(kind))).unwrap();
                held.drain(..passed);
            }
            assert_eq!((seen.as_str(), held.len()), ("DCZ", 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        for length in [0u32, 1, 3, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let header = [&b"D"[..], &length.to_be_bytes()].concat();
            assert!(Frames::default().feed(&header, |_, _| {}).is_err(), "{length}");
        }
        assert!(Frames::default().feed(b"Z\0\x10\0\0", |_, _| {}).is_err(), "no such message is so long");
        assert!(Frames::default().feed(b"HTTP/1.1 400", |_, _| {}).is_err());
    }

    #[test]
    fn fields_of_an_error_are_found() {
        let error = error("08006", "gone");
        assert_eq!(field(&error[HEADER_BYTES..], b'C').as_deref(), Some("08006"));
        assert_eq!(field(&error[HEADER_BYTES..], b'M').as_deref(), Some("gone"));
        assert_eq!(field(&error[HEADER_BYTES..], b'H'), None);
    }
}
