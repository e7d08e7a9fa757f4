//! A packet as it lies on the wire: fixed fields and where its options are.

use std::{borrow::Cow, net::Ipv4Addr};

use super::{Odd, PACKET_BYTES_MAX, code};

/// Header and magic cookie.
const HEADER_BYTES: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Pieces of options in one packet.  Firmware sends about 15; a frame holds 750 of the shortest.
const PIECES_MAX: usize = 128;
/// The longest option after joining: twice what one piece holds.
const JOINED_BYTES_MAX: usize = 512;

/// A packet whose fields were found and whose options are known to end where they should.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// 1 is a request, 2 a reply.
    pub op: u8,
    /// How many relays the packet came through.
    pub hops: u8,
    /// Transaction.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Bit 15 asks for broadcast replies.
    pub flags: u16,
    /// Address the client has.
    pub ciaddr: Ipv4Addr,
    /// Address the client gets.
    pub yiaddr: Ipv4Addr,
    /// Next server.
    pub siaddr: Ipv4Addr,
    /// Relay.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub mac: [u8; 6],
    /// Field `sname`, empty if it holds options.
    pub sname: &'a [u8],
    /// Field `file`, empty if it holds options.
    pub file: &'a [u8],
    /// Options.
    pub options: Options<'a>,
}

/// Options in the order in which they lie in the packet; repeated ones are pieces of one (RFC 3396).
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    pieces: Vec<(u8, &'a [u8])>,
}

impl<'a> Message<'a> {
    /// Finds fields and options.
    ///
    /// # Errors
    /// See [`Odd`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Odd> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Odd::Long);
        }
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(Odd::Short)?;
        if header.get(236..) != Some(&COOKIE[..]) {
            return Err(Odd::NoCookie);
        }
        let [op, htype, hlen, hops] = array(header, 0)?;
        if (htype, hlen) != (1, 6) {
            return Err(Odd::NotEthernet);
        }
        let mut options = Options::default();
        options.collect(rest)?;
        let (mut sname, mut file) =
            (header.get(44..108).unwrap_or_default(), header.get(108..236).unwrap_or_default());
        // Only what the options field itself says counts: an overload inside an overloaded field cannot loop.
        if let Some(told) = options.one(code::OVERLOAD) {
            let told = *told.first().ok_or(Odd::Length { code: code::OVERLOAD })?;
            if !(1..=3).contains(&told) {
                return Err(Odd::Overload { told });
            }
            // RFC 3396, 5: the order of pieces is options, file, sname.
            if told & 1 != 0 {
                options.collect(std::mem::take(&mut file))?;
            }
            if told & 2 != 0 {
                options.collect(std::mem::take(&mut sname))?;
            }
        }
        let address = |at| Ok(Ipv4Addr::from(array::<4>(header, at)?));
        Ok(Self {
            op,
            hops,
            xid: u32::from_be_bytes(array(header, 4)?),
            secs: u16::from_be_bytes(array(header, 8)?),
            flags: u16::from_be_bytes(array(header, 10)?),
            ciaddr: address(12)?,
            yiaddr: address(16)?,
            siaddr: address(20)?,
            giaddr: address(24)?,
            mac: array(header, 28)?,
            sname: until_zero(sname),
            file: until_zero(file),
            options,
        })
    }
}

impl<'a> Options<'a> {
    fn collect(&mut self, field: &'a [u8]) -> Result<(), Odd> {
        let mut rest = field;
        while let Some((code, after)) = rest.split_first() {
            match code {
                0 => rest = after,
                255 => break,
                code => {
                    let cut = Odd::Truncated { code: *code };
                    let (length, after) = after.split_first().ok_or(cut)?;
                    let (value, after) = after.split_at_checked((*length).into()).ok_or(cut)?;
                    if self.pieces.len() >= PIECES_MAX {
                        return Err(Odd::TooMany { max: PIECES_MAX });
                    }
                    self.pieces.push((*code, value));
                    rest = after;
                }
            }
        }
        Ok(())
    }

    fn one(&self, code: u8) -> Option<&'a [u8]> {
        self.pieces.iter().find(|(own, _)| *own == code).map(|(_, value)| *value)
    }

    /// An option's value, its pieces joined; `Ok(None)` if it is not there.
    ///
    /// # Errors
    /// [`Odd::Giant`] if the pieces make more than 512 bytes.
    pub fn get(&self, code: u8) -> Result<Option<Cow<'a, [u8]>>, Odd> {
        let mut pieces = self.pieces.iter().filter(|(own, _)| *own == code).map(|(_, value)| *value);
        let Some(first) = pieces.next() else { return Ok(None) };
        let Some(second) = pieces.next() else { return Ok(Some(Cow::Borrowed(first))) };
        let mut joined = [first, second].concat();
        for piece in pieces {
            joined.extend_from_slice(piece);
        }
        if joined.len() > JOINED_BYTES_MAX {
            return Err(Odd::Giant { code });
        }
        Ok(Some(Cow::Owned(joined)))
    }

    /// All pieces, in order: for those who show packets to people.
    pub fn pieces(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        self.pieces.iter().copied()
    }

    /// An option of exactly `N` bytes.
    ///
    /// # Errors
    /// [`Odd::Length`] if it has another length.
    pub fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, Odd> {
        let Some(value) = self.get(code)? else { return Ok(None) };
        value.as_ref().try_into().map(Some).map_err(|_| Odd::Length { code })
    }

    /// An option that is printable ASCII, without the zeros some firmware ends its strings with.  Other text, or text
    /// longer than an option, counts as absent: it is shown to people and compared with words we know.
    #[must_use]
    pub fn text(&self, code: u8) -> Option<String> {
        let value = self.get(code).ok()??;
        text(&value)
    }
}

/// Printable ASCII of at most 255 bytes without trailing zeros.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let sane = text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    sane.then(|| text.to_owned())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Odd> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(Odd::Short)
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
