//! Members as AMQP 0-9-1 frames.

use crate::error::{Error, Result};
use crate::id::{ID_LEN, Ids};
use crate::message::{AmqpEnvelope, Chunk, Envelope, Member, Part, Slot};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;
/// Bytes of a frame around its payload: type, channel, size; end.
const FRAME_OVERHEAD: usize = 8;
/// Class and weight of `basic`, as the content header begins.
const CLASS_AND_WEIGHT: [u8; 4] = [0, 60, 0, 0];
/// The least that a peer may negotiate.
const FRAME_MIN_SIZE: u32 = 4096;

/// Appends members from position `from_member` on as method, header and body frames.
///
/// As many members as fit into `max_bytes`, at least one. `frame_max` is the size negotiated
/// for the connection, 0 for no limit; bodies are split at `frame_max - 8`. Returns the
/// position of the first member that is left.
///
/// # Errors
/// [`Error::FrameMaxTooSmall`]; [`Error::Member`] naming the member whose id or properties
/// AMQP cannot carry. `out` is then as it was.
///
/// # Source
/// AMQP 0-9-1, sections 2.3.5 and 4.2; py-amqp's `method_framing` and `serialization`.
pub fn encode(
    chunk: &Chunk,
    ids: &Ids,
    channel: u16,
    frame_max: u32,
    from_member: usize,
    max_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<usize> {
    let limit = match frame_max {
        0 => u32::MAX as usize,
        1..FRAME_MIN_SIZE => return Err(Error::FrameMaxTooSmall { frame_max }),
        _ => frame_max as usize - FRAME_OVERHEAD,
    };
    let start = out.len();
    let mut writer = Writer {
        chunk,
        ids,
        channel,
        limit,
        body: Vec::new(),
    };
    let members = chunk.members.get(from_member..).unwrap_or_default();
    for (done, member) in members.iter().enumerate() {
        let before = out.len();
        if let Err(error) = writer.message(member, out) {
            out.truncate(start);
            return Err(error.in_member(member.index));
        }
        if done > 0 && out.len() - start > max_bytes {
            out.truncate(before);
            return Ok(from_member + done);
        }
    }
    Ok(chunk.members.len().max(from_member))
}

struct Writer<'a> {
    chunk: &'a Chunk,
    ids: &'a Ids,
    channel: u16,
    /// Largest payload of a frame.
    limit: usize,
    body: Vec<u8>,
}

impl Writer<'_> {
    fn message(&mut self, member: &Member, out: &mut Vec<u8>) -> Result<()> {
        let chunk = self.chunk;
        let Envelope::Amqp(envelope) = &chunk.template(member)?.envelope else {
            return Err(Error::WrongEnvelope { wire: "amqp" });
        };
        let frame = self.open(METHOD, out);
        out.extend_from_slice(&envelope.method);
        close(frame, out)?;

        let mut scratch = std::mem::take(&mut self.body);
        let body = chunk.body(member, &mut scratch)?;
        let frame = self.open(HEADER, out);
        out.extend_from_slice(&CLASS_AND_WEIGHT);
        out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        self.properties(envelope, member, out)?;
        let len = out.len() - frame.payload;
        if len > self.limit {
            return Err(Error::HeaderTooLarge {
                len,
                limit: self.limit,
            });
        }
        close(frame, out)?;

        for piece in body.chunks(self.limit) {
            let frame = self.open(BODY, out);
            out.extend_from_slice(piece);
            close(frame, out)?;
        }
        self.body = scratch;
        Ok(())
    }

    fn properties(
        &self,
        envelope: &AmqpEnvelope,
        member: &Member,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut derived = [0; ID_LEN];
        let id = self.chunk.id(member, self.ids, &mut derived);
        let id_len = u8::try_from(id.len()).map_err(|_| Error::IdTooLong { len: id.len() })?;

        out.extend_from_slice(&envelope.before);
        let table = reserve_len(out);
        for part in &envelope.table {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Slot(Slot::Id) => {
                    out.extend_from_slice(&[b'S', 0, 0, 0, id_len]);
                    out.extend_from_slice(id);
                }
                Part::Slot(Slot::GroupIndex) => write_int(member.position, out),
                Part::Slot(Slot::ArgsRepr) => {
                    out.push(b'S');
                    let text = reserve_len(out);
                    self.chunk.write_repr(member.args, out)?;
                    write_len(text, "argsrepr", out)?;
                }
                Part::Slot(Slot::KwargsRepr) => {
                    out.push(b'S');
                    let text = reserve_len(out);
                    self.chunk.write_repr(member.kwargs, out)?;
                    write_len(text, "kwargsrepr", out)?;
                }
                Part::Slot(Slot::Own(number)) => {
                    out.extend_from_slice(self.chunk.own_header(member, *number)?);
                }
                Part::Slot(slot @ (Slot::Body | Slot::Tag)) => {
                    let place = "AMQP headers table";
                    return Err(Error::MisplacedSlot {
                        slot: slot.name(),
                        place,
                    });
                }
            }
        }
        write_len(table, "headers table", out)?;
        for part in &envelope.after {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Slot(Slot::Id) => {
                    out.push(id_len);
                    out.extend_from_slice(id);
                }
                Part::Slot(slot) => {
                    let place = "AMQP properties after the headers table";
                    return Err(Error::MisplacedSlot {
                        slot: slot.name(),
                        place,
                    });
                }
            }
        }
        Ok(())
    }

    fn open(&self, kind: u8, out: &mut Vec<u8>) -> Frame {
        out.push(kind);
        out.extend_from_slice(&self.channel.to_be_bytes());
        Frame {
            payload: reserve_len(out),
        }
    }
}

/// A frame whose size is not written yet.
#[derive(Clone, Copy)]
struct Frame {
    /// The start of the payload, right after the size.
    payload: usize,
}

fn close(frame: Frame, out: &mut Vec<u8>) -> Result<()> {
    write_len(frame.payload, "frame", out)?;
    out.push(FRAME_END);
    Ok(())
}

/// Leaves room for a 32-bit length; returns the start of the part that it measures.
fn reserve_len(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len()
}

fn write_len(begin: usize, what: &'static str, out: &mut [u8]) -> Result<()> {
    let len = out.len() - begin;
    let bytes = u32::try_from(len)
        .map_err(|_| Error::FieldTooLong { what, len })?
        .to_be_bytes();
    out[begin - 4..begin].copy_from_slice(&bytes);
    Ok(())
}

/// An integer as py-amqp writes it: 32 bits if they suffice.
fn write_int(value: u32, out: &mut Vec<u8>) {
    if let Ok(small) = i32::try_from(value) {
        out.push(b'I');
        out.extend_from_slice(&small.to_be_bytes());
    } else {
        out.push(b'L');
        out.extend_from_slice(&i64::from(value).to_be_bytes());
    }
}
