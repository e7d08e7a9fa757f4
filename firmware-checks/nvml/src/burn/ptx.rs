//! The programs that run on the GPU, as PTX text: products of matrices in three precisions, patterns in memory, and
//! the comparisons.
//!
//! PTX is compiled by the driver for the GPU at hand, so nothing of NVIDIA's tools is needed to build.  The products
//! are unrolled here; each value is one chain of fused multiply-adds in rising order (FP64, FP32), or sums that are exact
//! in any order (FP16 on tensor cores), so that the host knows each result to the bit.

use std::fmt::Write as _;

/// Rows and columns of a product that one block of threads makes.
pub(super) const TILE: u64 = 128;
/// Threads of a block.
pub(super) const THREADS: u32 = 256;
/// Elements of the sums that are in shared memory at a time.
const DEEP: usize = 8;
/// Rows and columns after which all matrices repeat.
pub(super) const PERIOD: u64 = 64;
/// How many wrong values are kept with their place.
pub(super) const KEPT: u64 = 16;
/// Where the kept ones stand behind the count, in bytes, and how far apart.
pub(super) const KEPT_AT: u64 = 64;
/// Place, what was there, what had to be.
pub(super) const KEPT_BYTES: u64 = 32;

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    F32,
    F64,
}

impl Scalar {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Elements in 16 bytes, the widest access.
    fn wide(self) -> usize {
        16 / self.bytes()
    }
}

/// Any GPU since Pascal.
pub(super) fn module() -> String {
    let mut text = String::from(".version 7.0\n.target sm_60\n.address_size 64\n");
    for scalar in [Scalar::F32, Scalar::F64] {
        product(&mut text, scalar);
    }
    text.push_str(&compare("check_b32", "u32", 2));
    text.push_str(&compare("check_b64", "u64", 3));
    text.push_str(&memory());
    text
}

/// Tensor cores: since Ampere.
pub(super) fn tensor_module() -> String {
    let mut text = String::from(".version 7.0\n.target sm_80\n.address_size 64\n");
    tensor(&mut text);
    text
}

/// `count` accesses of 16 bytes of registers `name` from `first` on, at `address`.
fn wide(
    text: &mut String,
    scalar: Scalar,
    access: (&str, &str),
    first: usize,
    count: usize,
    at: (&str, usize),
) {
    let (verb, register) = access;
    let each = scalar.wide();
    for part in 0..count / each {
        let list: Vec<String> =
            (0..each).map(|place| format!("%{register}{}", first + part * each + place)).collect();
        let (list, place) = (list.join(", "), format!("[{}+{}]", at.0, at.1 + part * 16));
        let kind = format!("{verb}.v{each}.{}", scalar.name());
        let _ = if verb.starts_with("ld") {
            writeln!(text, "  {kind} {{{list}}}, {place};")
        } else {
            writeln!(text, "  {kind} {place}, {{{list}}};")
        };
    }
}

/// `product_f32(a, b, c, rows, depth)`: c = aᵗ·b; a and b are `depth` rows of `rows` elements, c is square.
///
/// 256 threads make 128 × 128 values, each 8 × 8 of them, as four squares of 4 × 4 so that neighbours in a warp read
/// neighbours in shared memory.
fn product(text: &mut String, scalar: Scalar) {
    let (kind, bytes) = (scalar.name(), scalar.bytes());
    let fill_in = |part: &str| {
        part.replace("KIND", kind)
            .replace("TILE_BYTES", &(DEEP * 128 * bytes).to_string())
            .replace("STEP", &(DEEP * bytes).to_string())
            .replace("QUAD", &(4 * bytes).to_string())
            .replace("BYTES", &bytes.to_string())
            .replace("DEEP", &DEEP.to_string())
    };
    text.push_str(&fill_in(PRODUCT_HEAD));
    for index in 0..64 {
        let zero = if scalar == Scalar::F32 { "0f00000000" } else { "0d0000000000000000" };
        let _ = writeln!(text, "  mov.{kind} %acc{index}, {zero};");
    }
    text.push_str("LOOP:\n");
    wide(text, scalar, ("ld.global", "s"), 0, 4, ("%d9", 0));
    wide(text, scalar, ("ld.global", "s"), 4, 4, ("%d10", 0));
    text.push_str("  bar.sync 0;\n");
    wide(text, scalar, ("st.shared", "s"), 0, 4, ("%d15", 0));
    wide(text, scalar, ("st.shared", "s"), 4, 4, ("%d16", 0));
    text.push_str("  bar.sync 0;\n");
    for deep in 0..DEEP {
        for half in 0..2 {
            let at = (deep * 128 + half * 64) * bytes;
            wide(text, scalar, ("ld.shared", "a"), half * 4, 4, ("%d13", at));
            wide(text, scalar, ("ld.shared", "b"), half * 4, 4, ("%d14", at));
        }
        for (row, column) in (0..8).flat_map(|row| (0..8).map(move |column| (row, column))) {
            let acc = row * 8 + column;
            let _ = writeln!(text, "  fma.rn.{kind} %acc{acc}, %a{row}, %b{column}, %acc{acc};");
        }
    }
    text.push_str(&fill_in(PRODUCT_TAIL));
    for row in 0..8 {
        wide(text, scalar, ("st.global", "acc"), row * 8, 4, ("%d17", 0));
        wide(text, scalar, ("st.global", "acc"), row * 8 + 4, 4, ("%d17", 64 * bytes));
        // From the fourth row of the upper square to the first of the lower one.
        text.push_str("  add.u64 %d17, %d17, %d18;\n");
        if row == 3 {
            text.push_str("  add.u64 %d17, %d17, %d19;\n");
        }
    }
    text.push_str("  ret;\n}\n");
}

/// Addresses, from the thread's and the block's number.
const PRODUCT_HEAD: &str = "
.visible .entry product_KIND(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 rows, .param .u64 depth)
.maxntid 256, 1, 1
{
  .reg .pred %p<2>;
  .reg .b32 %r<12>;
  .reg .b64 %d<20>;
  .reg .KIND %acc<64>;
  .reg .KIND %a<8>;
  .reg .KIND %b<8>;
  .reg .KIND %s<8>;
  .shared .align 16 .b8 sa_KIND[TILE_BYTES];
  .shared .align 16 .b8 sb_KIND[TILE_BYTES];
  ld.param.u64 %d0, [a];
  ld.param.u64 %d1, [b];
  ld.param.u64 %d2, [c];
  ld.param.u64 %d3, [rows];
  ld.param.u64 %d4, [depth];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ctaid.y;
  and.b32 %r3, %r0, 15;
  shr.u32 %r4, %r0, 4;
  shr.u32 %r5, %r0, 5;
  and.b32 %r6, %r0, 31;
  shl.b32 %r6, %r6, 2;
  cvt.u64.u32 %d5, %r5;
  mul.lo.u64 %d5, %d5, %d3;
  cvt.u64.u32 %d6, %r6;
  add.u64 %d5, %d5, %d6;
  shl.b32 %r7, %r2, 7;
  cvt.u64.u32 %d7, %r7;
  shl.b32 %r8, %r1, 7;
  cvt.u64.u32 %d8, %r8;
  add.u64 %d9, %d5, %d7;
  mul.lo.u64 %d9, %d9, BYTES;
  add.u64 %d9, %d9, %d0;
  add.u64 %d10, %d5, %d8;
  mul.lo.u64 %d10, %d10, BYTES;
  add.u64 %d10, %d10, %d1;
  mul.lo.u64 %d11, %d3, STEP;
  cvt.u64.u32 %d12, %r0;
  mul.lo.u64 %d12, %d12, QUAD;
  mov.u64 %d13, sa_KIND;
  mov.u64 %d14, sb_KIND;
  add.u64 %d15, %d13, %d12;
  add.u64 %d16, %d14, %d12;
  cvt.u64.u32 %d17, %r4;
  mul.lo.u64 %d17, %d17, QUAD;
  add.u64 %d13, %d13, %d17;
  cvt.u64.u32 %d18, %r3;
  mul.lo.u64 %d18, %d18, QUAD;
  add.u64 %d14, %d14, %d18;
";

/// The loop's end, and where the thread's values go.
const PRODUCT_TAIL: &str = "  add.u64 %d9, %d9, %d11;
  add.u64 %d10, %d10, %d11;
  sub.u64 %d4, %d4, DEEP;
  setp.ne.u64 %p0, %d4, 0;
  @%p0 bra LOOP;
  shl.b32 %r9, %r4, 2;
  add.u32 %r9, %r9, %r7;
  cvt.u64.u32 %d17, %r9;
  mul.lo.u64 %d17, %d17, %d3;
  shl.b32 %r10, %r3, 2;
  add.u32 %r10, %r10, %r8;
  cvt.u64.u32 %d18, %r10;
  add.u64 %d17, %d17, %d18;
  mul.lo.u64 %d17, %d17, BYTES;
  add.u64 %d17, %d17, %d2;
  mul.lo.u64 %d18, %d3, BYTES;
  mul.lo.u64 %d19, %d18, 60;
";

/// `check_b32(values, expected, result, words, shift)`: each value of a square of 2^shift columns against the one at
/// its place in the period, bit for bit.
fn compare(name: &str, kind: &str, log: u32) -> String {
    format!(
        "
.visible .entry {name}(.param .u64 values, .param .u64 expected, .param .u64 result, .param .u64 words, .param .u64 shift)
{{
  .reg .pred %p<3>;
  .reg .b32 %r<5>;
  .reg .b64 %d<20>;
  .reg .{kind} %v<2>;
  ld.param.u64 %d0, [values];
  ld.param.u64 %d1, [expected];
  ld.param.u64 %d2, [result];
  ld.param.u64 %d3, [words];
  ld.param.u64 %d9, [shift];
  cvt.u32.u64 %r4, %d9;
{FIRST}LOOP:
  setp.ge.u64 %p0, %d4, %d3;
  @%p0 bra DONE;
  shl.b64 %d6, %d4, {log};
  add.u64 %d6, %d6, %d0;
  ld.global.{kind} %v0, [%d6+0];
  shr.u64 %d7, %d4, %r4;
  and.b64 %d7, %d7, 63;
  shl.b64 %d7, %d7, 6;
  and.b64 %d8, %d4, 63;
  add.u64 %d7, %d7, %d8;
  shl.b64 %d7, %d7, {log};
  add.u64 %d7, %d7, %d1;
  ld.global.{kind} %v1, [%d7+0];
  setp.eq.{kind} %p1, %v0, %v1;
  @%p1 bra NEXT;
  mov.u64 %d15, %d4;
  cvt.u64.{kind} %d16, %v0;
  cvt.u64.{kind} %d17, %v1;
{KEEP}NEXT:
  add.u64 %d4, %d4, %d5;
  bra LOOP;
DONE:
  ret;
}}
"
    )
}

/// The number of this thread among all in d4, how many there are in d5.
const FIRST: &str = "  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %ntid.x;
  mov.u32 %r2, %tid.x;
  mov.u32 %r3, %nctaid.x;
  mad.lo.u32 %r2, %r0, %r1, %r2;
  mul.lo.u32 %r3, %r3, %r1;
  cvt.u64.u32 %d4, %r2;
  cvt.u64.u32 %d5, %r3;
";

/// Counts in the result at d2, and keeps d15, d16, d17 there if there is room.
const KEEP: &str = "  atom.global.add.u64 %d18, [%d2], 1;
  setp.ge.u64 %p2, %d18, 16;
  @%p2 bra NEXT;
  shl.b64 %d18, %d18, 5;
  add.u64 %d18, %d18, %d2;
  st.global.u64 [%d18+64], %d15;
  st.global.u64 [%d18+72], %d16;
  st.global.u64 [%d18+80], %d17;
";

/// The pattern (d11, d12) of the word numbered d13, into d14.
const PATTERN: &str = "  mul.lo.u64 %d14, %d13, %d11;
  shr.u64 %d19, %d14, 32;
  xor.b64 %d14, %d14, %d19;
  xor.b64 %d14, %d14, %d12;
";

/// `fill(words, count, first, factor, mask)` writes, `turn(…, next factor, next mask, result)` compares and writes the
/// next.  A word is its number times `factor`, its halves folded, and turned by `mask`; factor 0 makes them all alike.
fn memory() -> String {
    let next = PATTERN.replace("%d11", "%d9").replace("%d12", "%d10").replace("%d14", "%d16");
    let rename = PATTERN.replace("%d14", "%d17");
    let each = |body: &str| {
        format!(
            "{FIRST}LOOP:
  setp.ge.u64 %p0, %d4, %d3;
  @%p0 bra DONE;
  shl.b64 %d6, %d4, 3;
  add.u64 %d6, %d6, %d0;
  add.u64 %d13, %d4, %d1;
{body}  add.u64 %d4, %d4, %d5;
  bra LOOP;
DONE:
  ret;
}}
"
        )
    };
    let write = each(&format!("{PATTERN}  st.global.u64 [%d6+0], %d14;\n"));
    let turn = each(&format!(
        "  ld.global.u64 %d7, [%d6+0];
{rename}{next}  st.global.u64 [%d6+0], %d16;
  setp.eq.u64 %p1, %d7, %d17;
  @%p1 bra NEXT;
  mov.u64 %d15, %d13;
  mov.u64 %d16, %d7;
{KEEP}NEXT:
"
    ));
    let registers = "  .reg .pred %p<3>;
  .reg .b32 %r<4>;
  .reg .b64 %d<20>;
  ld.param.u64 %d0, [words];
  ld.param.u64 %d3, [count];
  ld.param.u64 %d1, [first];
  ld.param.u64 %d11, [factor];
  ld.param.u64 %d12, [mask];
";
    format!(
        "
.visible .entry fill(.param .u64 words, .param .u64 count, .param .u64 first, .param .u64 factor, .param .u64 mask)
{{
{registers}{write}
.visible .entry turn(.param .u64 words, .param .u64 count, .param .u64 first, .param .u64 factor, .param .u64 mask, \
         .param .u64 factor2, .param .u64 mask2, .param .u64 result)
{{
{registers}  ld.param.u64 %d9, [factor2];
  ld.param.u64 %d10, [mask2];
  ld.param.u64 %d2, [result];
{turn}"
    )
}

/// `product_f16(a, b, c, rows, steps)`: like the others, but a and b lie as the tensor cores take them, in pieces of
/// 16 × 16 and 8 × 16 with each lane's part in one place; c is FP32.
///
/// A block's eight warps make 64 × 32 values each.
fn tensor(text: &mut String) {
    text.push_str(TENSOR_HEAD);
    for index in 0..64 {
        let _ = writeln!(text, "  mov.f32 %acc{index}, 0f00000000;");
    }
    text.push_str("LOOP:\n  mov.u64 %d13, %d8;\n  mov.u64 %d14, %d10;\n");
    for piece in 0..4 {
        let first = piece * 4;
        let _ = writeln!(
            text,
            "  ld.global.v4.u32 {{%a{first}, %a{}, %a{}, %a{}}}, [%d13+0];\n  add.u64 %d13, %d13, %d7;",
            first + 1,
            first + 2,
            first + 3
        );
        let first = piece * 2;
        let _ = writeln!(
            text,
            "  ld.global.v2.u32 {{%b{first}, %b{}}}, [%d14+0];\n  add.u64 %d14, %d14, %d9;",
            first + 1
        );
    }
    for (row, column) in (0..4).flat_map(|row| (0..4).map(move |column| (row, column))) {
        let list = |name: &str, first: usize, count: usize| {
            (first..first + count).map(|index| format!("%{name}{index}")).collect::<Vec<_>>().join(", ")
        };
        let acc = list("acc", (row * 4 + column) * 4, 4);
        let (a, b) = (list("a", row * 4, 4), list("b", column * 2, 2));
        let _ = writeln!(
            text,
            "  mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{{acc}}}, {{{a}}}, {{{b}}}, {{{acc}}};"
        );
    }
    text.push_str(TENSOR_TAIL);
    for (row, half) in (0..4).flat_map(|row| (0..2).map(move |half| (row, half))) {
        for column in 0..4 {
            let first = (row * 4 + column) * 4 + half * 2;
            let at = column * 32;
            let _ = writeln!(text, "  st.global.v2.f32 [%d13+{at}], {{%acc{first}, %acc{}}};", first + 1);
        }
        text.push_str("  add.u64 %d13, %d13, %d14;\n");
    }
    text.push_str("  ret;\n}\n");
}

const TENSOR_HEAD: &str = "
.visible .entry product_f16(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 rows, .param .u64 steps)
.maxntid 256, 1, 1
{
  .reg .pred %p<2>;
  .reg .b32 %r<12>;
  .reg .b64 %d<20>;
  .reg .b32 %a<16>;
  .reg .b32 %b<8>;
  .reg .f32 %acc<64>;
  ld.param.u64 %d0, [a];
  ld.param.u64 %d1, [b];
  ld.param.u64 %d2, [c];
  ld.param.u64 %d3, [rows];
  ld.param.u64 %d4, [steps];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ctaid.y;
  and.b32 %r3, %r0, 31;
  shr.u32 %r4, %r0, 5;
  shr.u32 %r5, %r4, 2;
  and.b32 %r6, %r4, 3;
  shl.b32 %r7, %r2, 3;
  shl.b32 %r8, %r5, 2;
  add.u32 %r7, %r7, %r8;
  cvt.u64.u32 %d5, %r7;
  shl.b32 %r8, %r1, 4;
  shl.b32 %r9, %r6, 2;
  add.u32 %r8, %r8, %r9;
  cvt.u64.u32 %d6, %r8;
  shl.b64 %d7, %d4, 9;
  mul.lo.u64 %d8, %d5, %d7;
  add.u64 %d8, %d8, %d0;
  shl.b64 %d9, %d4, 8;
  mul.lo.u64 %d10, %d6, %d9;
  add.u64 %d10, %d10, %d1;
  cvt.u64.u32 %d11, %r3;
  shl.b64 %d12, %d11, 4;
  add.u64 %d8, %d8, %d12;
  shl.b64 %d12, %d11, 3;
  add.u64 %d10, %d10, %d12;
";

/// The loop's end, and where the lane's values go.
const TENSOR_TAIL: &str = "  add.u64 %d8, %d8, 512;
  add.u64 %d10, %d10, 256;
  sub.u64 %d4, %d4, 1;
  setp.ne.u64 %p0, %d4, 0;
  @%p0 bra LOOP;
  shr.u32 %r10, %r3, 2;
  cvt.u64.u32 %d13, %r10;
  shl.b64 %d14, %d5, 4;
  add.u64 %d13, %d13, %d14;
  mul.lo.u64 %d13, %d13, %d3;
  and.b32 %r11, %r3, 3;
  shl.b32 %r11, %r11, 1;
  cvt.u64.u32 %d15, %r11;
  shl.b64 %d14, %d6, 3;
  add.u64 %d15, %d15, %d14;
  add.u64 %d13, %d13, %d15;
  shl.b64 %d13, %d13, 2;
  add.u64 %d13, %d13, %d2;
  shl.b64 %d14, %d3, 5;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_texts_say_twice() {
        let text = module();
        assert!(text.contains(&format!("%p2, %d18, {KEPT};")) && KEPT_BYTES == 1 << 5);
        assert!(text.contains(&format!("[%d18+{KEPT_AT}]")));
        assert_eq!((TILE, PERIOD, THREADS), (128, 64, 256));
    }
}
