//! FRU data: maker, part and serial numbers of chassis, board and product (IPMI 2.0, 34, and the Platform Management
//! FRU Information Storage Definition 1.0, cited as FRU).  Checksums are checked; what is odd is said, not dropped.

use crate::{
    bytes::{Reader, checksum},
    command::{Link, data, odd, refused, text},
    error::IpmiError,
    message::{Family, Request},
};

/// What a FRU says of itself.  Fields are empty where they are not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fru {
    /// The chassis.
    pub chassis: Option<Chassis>,
    /// The board.
    pub board: Option<Board>,
    /// The product.
    pub product: Option<Product>,
    /// Records of other kinds: the kind (FRU 16.1) and the bytes.
    pub records: Vec<(u8, Vec<u8>)>,
    /// What did not fit, in words.
    pub odd: Vec<String>,
}

/// Chassis area (FRU 10).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chassis {
    /// Kind, as SMBIOS numbers them.
    pub kind: u8,
    /// Part number.
    pub part: String,
    /// Serial number.
    pub serial: String,
    /// The maker's own fields.
    pub custom: Vec<String>,
}

/// Board area (FRU 11).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// When it was made, seconds since 1970; `None` if not told.
    pub made: Option<u64>,
    /// Maker.
    pub maker: String,
    /// Name.
    pub name: String,
    /// Serial number.
    pub serial: String,
    /// Part number.
    pub part: String,
    /// The maker's own fields.
    pub custom: Vec<String>,
}

/// Product area (FRU 12).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// Maker.
    pub maker: String,
    /// Name.
    pub name: String,
    /// Part or model number.
    pub part: String,
    /// Version.
    pub version: String,
    /// Serial number.
    pub serial: String,
    /// Asset tag.
    pub asset: String,
    /// The maker's own fields.
    pub custom: Vec<String>,
}

/// 1996-01-01, from which boards count minutes, in seconds since 1970.
const BOARD_EPOCH: u64 = 820_454_400;
/// An area has no more fields than this; its 2,040 bytes could hold as many empty ones.
const FIELDS_MAX: usize = 64;
/// Records behind the areas.
const RECORDS_MAX: usize = 64;

impl Fru {
    /// Reads the bytes of a FRU device.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut fru = Self::default();
        let Some(head @ [version, _internal, chassis, board, product, records, _, _]) =
            bytes.first_chunk::<8>().copied()
        else {
            fru.odd.push("it is shorter than a header".to_owned());
            return fru;
        };
        if version & 0x0f != 1 || checksum(&head) != 0 {
            fru.odd.push("its header has another version or a wrong checksum".to_owned());
            return fru;
        }
        let from = |offset: u8| bytes.get(usize::from(offset) * 8..).filter(|_| offset != 0);
        if let Some(area) = from(chassis).and_then(|rest| fru.area("chassis", rest)) {
            fru.chassis = chassis_of(area);
        }
        if let Some(area) = from(board).and_then(|rest| fru.area("board", rest)) {
            fru.board = board_of(area);
        }
        if let Some(area) = from(product).and_then(|rest| fru.area("product", rest)) {
            fru.product = product_of(area);
        }
        for (name, offset, missing) in [
            ("chassis", chassis, fru.chassis.is_none()),
            ("board", board, fru.board.is_none()),
            ("product", product, fru.product.is_none()),
        ] {
            if offset != 0 && missing {
                fru.odd.push(format!("its {name} area cannot be read"));
            }
        }
        if let Some(rest) = from(records) {
            fru.multirecord(rest);
        }
        fru
    }

    /// An area: version, length in units of eight bytes, content, checksum.
    fn area<'a>(&mut self, name: &str, rest: &'a [u8]) -> Option<&'a [u8]> {
        let [version, length] = *rest.first_chunk()?;
        let area = rest.get(..usize::from(length) * 8)?;
        if version & 0x0f != 1 || checksum(area) != 0 {
            // Read all the same: makers forget the checksum when they write an asset tag.
            self.odd.push(format!("its {name} area has another version or a wrong checksum"));
        }
        area.get(2..area.len().checked_sub(1)?)
    }

    /// FRU 16: a header of five bytes, then the data; a bit says which is the last.
    fn multirecord(&mut self, rest: &[u8]) {
        let mut reader = Reader::new(rest);
        for _ in 0..RECORDS_MAX {
            let Some(head @ [kind, format, length, sum, _]) = reader.array::<5>() else { break };
            if checksum(&head) != 0 {
                self.odd.push("a record's header has a wrong checksum".to_owned());
                return;
            }
            let Some(body) = reader.take(usize::from(length)) else { break };
            if checksum(body) != sum {
                self.odd.push(format!("record {kind:#04x} has a wrong checksum"));
            } else {
                self.records.push((kind, body.to_vec()));
            }
            if format & 0x80 != 0 {
                return;
            }
        }
        self.odd.push("its records do not end".to_owned());
    }

    /// The serial number that a machine is known by: the product's, else the chassis', else the board's.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        let product = self.product.as_ref().map(|product| product.serial.as_str());
        let chassis = self.chassis.as_ref().map(|chassis| chassis.serial.as_str());
        let board = self.board.as_ref().map(|board| board.serial.as_str());
        [product, chassis, board].into_iter().flatten().find(|serial| !serial.is_empty())
    }
}

/// Fields until the mark of the end; a field that is cut short ends them too.
fn fields(mut reader: Reader<'_>) -> impl Iterator<Item = String> {
    let mut out = Vec::new();
    while let Some(code) = reader.byte().filter(|code| *code != 0xc1 && out.len() < FIELDS_MAX) {
        let Some(bytes) = reader.take(usize::from(code & 0x3f)) else { break };
        out.push(text::decode_fru(code >> 6, bytes));
    }
    out.into_iter()
}

fn rest(fields: impl Iterator<Item = String>) -> Vec<String> {
    fields.filter(|field| !field.is_empty()).collect()
}

fn chassis_of(area: &[u8]) -> Option<Chassis> {
    let mut reader = Reader::new(area);
    let kind = reader.byte()?;
    let mut fields = fields(reader);
    let mut next = || fields.next().unwrap_or_default();
    Some(Chassis { kind, part: next(), serial: next(), custom: rest(fields) })
}

fn board_of(area: &[u8]) -> Option<Board> {
    let mut reader = Reader::new(area);
    reader.skip(1)?;
    let [low, middle, high] = reader.array()?;
    let minutes = u64::from(u32::from_le_bytes([low, middle, high, 0]));
    let made = (minutes != 0).then(|| BOARD_EPOCH + minutes * 60);
    let mut fields = fields(reader);
    let mut next = || fields.next().unwrap_or_default();
    let (maker, name, serial, part, _file) = (next(), next(), next(), next(), next());
    Some(Board { made, maker, name, serial, part, custom: rest(fields) })
}

fn product_of(area: &[u8]) -> Option<Product> {
    let mut reader = Reader::new(area);
    reader.skip(1)?;
    let mut fields = fields(reader);
    let mut next = || fields.next().unwrap_or_default();
    let (maker, name, part, version) = (next(), next(), next(), next());
    let (serial, asset, _file) = (next(), next(), next());
    Some(Product { maker, name, part, version, serial, asset, custom: rest(fields) })
}

/// Header and areas end before this: offsets and lengths are one byte, in units of eight.
const BYTES_MAX: usize = 4096;
/// First try for the bytes of one answer; halved while the controller says that it is too much.
const PIECE: usize = 64;
const PIECE_MIN: usize = 8;

/// Reads a FRU device; 0 is the machine's own.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.  What is odd within the data is in [`Fru::odd`].
pub async fn read<L: Link>(link: &mut L, device: u8) -> Result<Fru, IpmiError> {
    let request = Request::new("how much FRU data there is", Family::Storage, 0x10, &[device]);
    let answer = data(link, &request).await?;
    let mut reader = Reader::new(&answer);
    let (Some(size), Some(flags)) = (reader.u16(), reader.byte()) else {
        return Err(odd(link, &request, answer.len(), "three are the least"));
    };
    // Offsets count words on some.
    let words = if flags & 1 != 0 { 2 } else { 1 };
    let size = (usize::from(size) * words).min(BYTES_MAX);
    let mut bytes: Vec<u8> = Vec::new();
    let mut piece = PIECE;
    while bytes.len() < size {
        let wanted = (size - bytes.len()).min(piece) / words;
        let offset = u16::try_from(bytes.len() / words).unwrap_or(u16::MAX).to_le_bytes();
        let body = [device, offset[0], offset[1], u8::try_from(wanted.max(1)).unwrap_or(u8::MAX)];
        let request = Request::new("FRU data", Family::Storage, 0x11, &body);
        let answer = link.ask(&request).await?;
        match answer.code {
            0 => {}
            0xc7 | 0xc8 | 0xca | 0xff if piece > PIECE_MIN => {
                piece /= 2;
                continue;
            }
            code => return Err(refused(link.host(), &request, code)),
        }
        let mut reader = Reader::new(&answer.data);
        let count = usize::from(reader.byte().unwrap_or(0)) * words;
        match reader.take(count).filter(|part| !part.is_empty()) {
            Some(part) => bytes.extend_from_slice(part),
            None => return Err(odd(link, &request, answer.data.len(), "not as many as it says, or none")),
        }
    }
    Ok(Fru::read(&bytes))
}
