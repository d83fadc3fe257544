//! A chunk as one Redis transaction.

use crate::error::{Error, Result};
use crate::id::{ID_LEN, Ids, Tags};
use crate::json;
use crate::message::{Chunk, Envelope, Member, Part, Slot};

/// The Redis list to which the messages of a template go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Full key of the list: global prefix, queue, priority step.
    pub key: Vec<u8>,
    /// Full keys to expire and their time to live in milliseconds (`x-expires`).
    pub expire: Vec<(Vec<u8>, u64)>,
}

/// The key that says how far a dispatch has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Full key.
    pub key: Vec<u8>,
    /// Index of the next member once this chunk is in.
    pub value: u64,
}

/// Appends the chunk as `MULTI`, one variadic `LPUSH` per route (and its `PEXPIRE`s), `EXEC`.
///
/// With a mark: `SET mark value KEEPTTL` before `EXEC` and `WATCH mark` after it, so that the
/// mark's value proves whether the chunk is in. Members keep their order within a route;
/// routes come in the order of their index. Returns how many commands are queued between
/// `MULTI` and `EXEC`.
///
/// # Errors
/// [`Error::Member`] with its reason, or [`Error::UnknownRoute`]; `out` is then as it was.
///
/// # Source
/// kombu 5.7.0, `transport/redis.py` (`_put`) and `transport/virtual/base.py`; RESP 2.
pub fn encode(
    chunk: &Chunk,
    ids: &Ids,
    tags: &mut Tags,
    routes: &[Route],
    mark: Option<&Mark>,
    out: &mut Vec<u8>,
) -> Result<usize> {
    let start = out.len();
    let result = Writer::new(chunk, ids, tags).transaction(routes, mark, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

struct Writer<'a> {
    chunk: &'a Chunk,
    ids: &'a Ids,
    tags: &'a mut Tags,
    body: Vec<u8>,
    repr: Vec<u8>,
    /// Digits of the last message's length: neighbours are of about the same size.
    digits: usize,
}

impl<'a> Writer<'a> {
    fn new(chunk: &'a Chunk, ids: &'a Ids, tags: &'a mut Tags) -> Self {
        Self {
            chunk,
            ids,
            tags,
            body: Vec::new(),
            repr: Vec::new(),
            digits: 3,
        }
    }

    fn transaction(
        &mut self,
        routes: &[Route],
        mark: Option<&Mark>,
        out: &mut Vec<u8>,
    ) -> Result<usize> {
        let members = &self.chunk.members;
        out.reserve(self.chunk.estimate_len_bytes(members));
        let mut queued = 0;
        command(&[b"MULTI"], out);
        let order = by_route(self.chunk, routes.len())?;
        for (route, run) in routes.iter().zip(order.windows()) {
            if run.is_empty() {
                continue;
            }
            array(run.len() + 2, out);
            bulk(b"LPUSH", out);
            bulk(&route.key, out);
            for &at in run {
                let member = &members[at as usize];
                self.message(member, out)
                    .map_err(|error| error.in_member(member.index))?;
            }
            for (key, ttl_ms) in &route.expire {
                command(
                    &[
                        b"PEXPIRE",
                        key,
                        itoa::Buffer::new().format(*ttl_ms).as_bytes(),
                    ],
                    out,
                );
            }
            queued += 1 + route.expire.len();
        }
        if let Some(Mark { key, value }) = mark {
            let value = itoa::Buffer::new().format(*value).as_bytes().to_vec();
            command(&[b"SET", key, &value, b"KEEPTTL"], out);
            queued += 1;
        }
        command(&[b"EXEC"], out);
        if let Some(Mark { key, .. }) = mark {
            command(&[b"WATCH", key], out);
        }
        Ok(queued)
    }

    /// Appends one message as a bulk string. Its length is known only afterwards; room is
    /// left for as many digits as the last one took, which is nearly always right.
    fn message(&mut self, member: &Member, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let room = self.digits + 3;
        out.resize(start + room, 0);
        self.envelope(member, out)?;
        let len = out.len() - start - room;
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(len).as_bytes();
        let begin = start + room;
        let moved = start + digits.len() + 3;
        if digits.len() > self.digits {
            out.resize(moved + len, 0);
        }
        if digits.len() != self.digits {
            out.copy_within(begin..begin + len, moved);
            out.truncate(moved + len);
            self.digits = digits.len();
        }
        out[start] = b'$';
        out[start + 1..moved - 2].copy_from_slice(digits);
        out[moved - 2..moved].copy_from_slice(b"\r\n");
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn envelope(&mut self, member: &Member, out: &mut Vec<u8>) -> Result<()> {
        let chunk = self.chunk;
        let Envelope::Redis(parts) = &chunk.template(member)?.envelope else {
            return Err(Error::WrongEnvelope { wire: "redis" });
        };
        let mut derived = [0; ID_LEN];
        let id = chunk.id(member, self.ids, &mut derived);
        for part in parts {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Slot(Slot::Id) if member.own_id.is_none() => out.extend_from_slice(id),
                Part::Slot(Slot::Id) => json::write_escaped(id, out),
                Part::Slot(Slot::GroupIndex) => {
                    out.extend_from_slice(itoa::Buffer::new().format(member.position).as_bytes());
                }
                Part::Slot(Slot::ArgsRepr) => {
                    self.repr.clear();
                    chunk.write_repr(member.args, &mut self.repr)?;
                    json::write_escaped(&self.repr, out);
                }
                Part::Slot(Slot::KwargsRepr) => {
                    self.repr.clear();
                    chunk.write_repr(member.kwargs, &mut self.repr)?;
                    json::write_escaped(&self.repr, out);
                }
                Part::Slot(Slot::Body) => {
                    let body = chunk.body(member, &mut self.body)?;
                    base64_simd::STANDARD.encode_append(body, out);
                }
                Part::Slot(Slot::Own(number)) => {
                    out.extend_from_slice(chunk.own_header(member, *number)?);
                }
                Part::Slot(Slot::Tag) => {
                    out.extend_from_slice(self.tags.draw());
                }
            }
        }
        Ok(())
    }
}

/// Positions of members, sorted by route; stable.
struct Order {
    positions: Vec<u32>,
    /// The end of each route's run.
    ends: Vec<usize>,
}

impl Order {
    /// The run of each route, by index.
    fn windows(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.positions[start..end])
    }
}

/// Counting sort: O(members + routes).
fn by_route(chunk: &Chunk, routes: usize) -> Result<Order> {
    let mut keys = Vec::with_capacity(chunk.members.len());
    let mut ends = vec![0_usize; routes];
    for member in &chunk.members {
        let template = chunk
            .template(member)
            .map_err(|error| error.in_member(member.index))?;
        let route = template.route;
        let count = ends
            .get_mut(route as usize)
            .ok_or_else(|| Error::UnknownRoute { route, len: routes }.in_member(member.index))?;
        *count += 1;
        keys.push(route);
    }
    let mut total = 0;
    for end in &mut ends {
        let count = std::mem::replace(end, total);
        total += count;
    }
    let mut positions = vec![0; keys.len()];
    for (position, route) in (0..).zip(keys) {
        let next = &mut ends[route as usize];
        positions[*next] = position;
        *next += 1;
    }
    Ok(Order { positions, ends })
}

fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    array(words.len(), out);
    for word in words {
        bulk(word, out);
    }
}

fn array(len: usize, out: &mut Vec<u8>) {
    count(b'*', len, out);
}

fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    count(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn count(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}
