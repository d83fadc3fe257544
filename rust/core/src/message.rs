//! A chunk of messages: the part that its members share, rendered once, and the part that each
//! adds.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{ID_LEN, Ids};
use crate::value::{Arena, Span, ValueRef};
use crate::{json, saferepr};

/// A field that differs from member to member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `id`, `root_id` of a root, `correlation_id`.
    Id,
    /// `group_index`.
    GroupIndex,
    /// `argsrepr`.
    ArgsRepr,
    /// `kwargsrepr`.
    KwargsRepr,
    /// The body.
    Body,
    /// `delivery_tag`, fresh for every message sent.
    Tag,
    /// A header of the member's own, by its number: bytes as the wire has them.
    Own(u8),
}

impl Slot {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::GroupIndex => "group_index",
            Self::ArgsRepr => "argsrepr",
            Self::KwargsRepr => "kwargsrepr",
            Self::Body => "body",
            Self::Tag => "delivery_tag",
            Self::Own(_) => "own",
        }
    }
}

/// A piece of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The same for every member.
    Bytes(Vec<u8>),
    /// Filled in for each member.
    Slot(Slot),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Slot(_) => 0,
        }
    }
}

/// An AMQP 0-9-1 message without its body, cut at the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AmqpEnvelope {
    /// Payload of the method frame: class 60, method 40, ticket, exchange, routing key, bits.
    pub method: Vec<u8>,
    /// Content header from the property flags to the length of `application_headers`,
    /// which is left out.
    pub before: Vec<u8>,
    /// Items of `application_headers`. A slot stands for a whole field value, type included.
    pub table: Vec<Part>,
    /// Properties after `application_headers`. An id slot stands for a short string.
    pub after: Vec<Part>,
}

/// A message's constant bytes in the form of one wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// JSON text of kombu's virtual transports. `Id`, `ArgsRepr`, `KwargsRepr`, `Tag` and
    /// `Body` (base64) stand inside quotes, `GroupIndex` is a bare number.
    Redis(Vec<Part>),
    /// Frames of AMQP 0-9-1.
    Amqp(AmqpEnvelope),
    /// kombu publishes; only bodies and reprs are made here.
    Generic,
}

impl Envelope {
    fn constant_len_bytes(&self) -> usize {
        let parts = |parts: &[Part]| parts.iter().map(Part::len).sum::<usize>();
        match self {
            Self::Redis(all) => parts(all),
            Self::Amqp(AmqpEnvelope {
                method,
                before,
                table,
                after,
            }) => method.len() + before.len() + parts(table) + parts(after),
            Self::Generic => 0,
        }
    }
}

/// The part of a message that members of the same task and options share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Constant bytes for the wire in use.
    pub envelope: Envelope,
    /// JSON of the body's third item: `callbacks`, `errbacks`, `chain`, `chord`.
    pub embed: Vec<u8>,
    /// Index of the route among those given to the wire.
    pub route: u32,
}

/// A member's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Plain values, written as JSON here.
    Plain {
        /// Positional arguments: a list or tuple.
        args: ValueRef,
        /// Keyword arguments: a dict with `str` keys.
        kwargs: ValueRef,
        /// The third item, if it is not the template's: the member's callbacks, chain and chord.
        embed: Option<ValueRef>,
    },
    /// Bytes made by kombu's serializer (and compressor).
    Ready(Span),
}

/// One task of the chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Index among the chunk's templates.
    pub template: u32,
    /// Its number among all members; the id derives from it too.
    pub index: u32,
    /// `group_index`: the same as `index`, unless the caller counts differently.
    pub position: u32,
    /// Positional arguments for `argsrepr`.
    pub args: ValueRef,
    /// Keyword arguments for `kwargsrepr`.
    pub kwargs: ValueRef,
    /// A task id of the member's own.
    pub own_id: Option<Span>,
    /// The body that the worker decodes.
    pub body: Body,
}

/// Members that are encoded and sent together, as owned data.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Arguments, own ids and ready bodies of the members.
    pub arena: Arena,
    /// The members, in group order.
    pub members: Vec<Member>,
    /// Templates that members name by index.
    pub templates: Vec<Arc<Template>>,
    /// How far `argsrepr` and `kwargsrepr` go.
    pub repr_limits: saferepr::Limits,
    /// Headers of members' own by [`Member::index`]; few chunks have any.
    pub own: HashMap<u32, Vec<Span>>,
}

/// One message for `kombu.Producer.publish`, of which kombu writes the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainMessage {
    /// Its member's number among all.
    pub index: u32,
    /// `group_index`.
    pub position: u32,
    /// Task id, WTF-8.
    pub id: Vec<u8>,
    /// `argsrepr`, WTF-8.
    pub args_repr: Vec<u8>,
    /// `kwargsrepr`, WTF-8.
    pub kwargs_repr: Vec<u8>,
    /// The encoded body.
    pub body: Vec<u8>,
}

impl Chunk {
    /// Forgets the members; templates and memory are kept for the next chunk.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.members.clear();
        self.own.clear();
    }

    /// The bytes for a member's [`Slot::Own`].
    pub(crate) fn own_header(&self, member: &Member, number: u8) -> Result<&[u8]> {
        let own = self.own.get(&member.index);
        let span = own.and_then(|own| own.get(usize::from(number)));
        span.map(|&span| self.arena.text(span))
            .ok_or(Error::NoOwnHeader { number })
    }

    /// The messages for a producer that writes envelopes itself.
    ///
    /// # Errors
    /// Each item: [`Error::Member`] with the value that could not be encoded.
    pub fn plain_messages<'a>(
        &'a self,
        ids: &'a Ids,
    ) -> impl Iterator<Item = Result<PlainMessage>> + 'a {
        self.members.iter().map(|member| {
            self.plain_message(member, ids)
                .map_err(|error| error.in_member(member.index))
        })
    }

    fn plain_message(&self, member: &Member, ids: &Ids) -> Result<PlainMessage> {
        let mut derived = [0; ID_LEN];
        let mut message = PlainMessage {
            index: member.index,
            position: member.position,
            id: self.id(member, ids, &mut derived).to_vec(),
            args_repr: Vec::new(),
            kwargs_repr: Vec::new(),
            body: Vec::new(),
        };
        self.write_repr(member.args, &mut message.args_repr)?;
        self.write_repr(member.kwargs, &mut message.kwargs_repr)?;
        self.write_body(member, &mut message.body)?;
        Ok(message)
    }

    pub(crate) fn template(&self, member: &Member) -> Result<&Template> {
        let Some(template) = self.templates.get(member.template as usize) else {
            return Err(Error::UnknownTemplate {
                template: member.template,
                len: self.templates.len(),
            });
        };
        Ok(template)
    }

    /// The member's id as WTF-8; a derived one is written to `derived`.
    pub fn id<'a>(&'a self, member: &Member, ids: &Ids, derived: &'a mut [u8; ID_LEN]) -> &'a [u8] {
        if let Some(span) = member.own_id {
            return self.arena.text(span);
        }
        ids.write(member.index, derived);
        derived
    }

    /// Writes a value as `argsrepr` and `kwargsrepr` show it.
    ///
    /// # Errors
    /// A reference that is not of this chunk's arena.
    pub fn write_repr(&self, value: ValueRef, out: &mut Vec<u8>) -> Result<()> {
        saferepr::write(&self.arena, value, self.repr_limits, out)
    }

    /// The bytes of the member's body; a plain one is written over `scratch`.
    pub(crate) fn body<'a>(
        &'a self,
        member: &Member,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        if let Body::Ready(span) = member.body {
            return Ok(self.arena.text(span));
        }
        scratch.clear();
        self.write_body(member, scratch)?;
        Ok(scratch)
    }

    /// Writes the bytes of the member's body.
    ///
    /// # Errors
    /// A value that cannot be encoded, or a template of another chunk.
    pub fn write_body(&self, member: &Member, out: &mut Vec<u8>) -> Result<()> {
        match member.body {
            Body::Ready(span) => out.extend_from_slice(self.arena.text(span)),
            Body::Plain {
                args,
                kwargs,
                embed,
            } => {
                out.push(b'[');
                json::write(&self.arena, args, out)?;
                out.extend_from_slice(b", ");
                json::write(&self.arena, kwargs, out)?;
                out.extend_from_slice(b", ");
                match embed {
                    Some(embed) => json::write(&self.arena, embed, out)?,
                    None => out.extend_from_slice(&self.template(member)?.embed),
                }
                out.push(b']');
            }
        }
        Ok(())
    }

    /// About how many bytes `members` take on the wire, so that one allocation serves.
    pub(crate) fn estimate_len_bytes(&self, members: &[Member]) -> usize {
        /// Ids, tag, reprs and arguments of a small task.
        const PER_MEMBER: usize = 320;
        let constant = members
            .iter()
            .filter_map(|member| self.template(member).ok())
            .map(|template| template.envelope.constant_len_bytes() + template.embed.len() * 4 / 3);
        constant.sum::<usize>() + members.len() * PER_MEMBER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Seed;

    fn chunk() -> Result<Chunk> {
        let mut chunk = Chunk::default();
        let args = chunk.arena.position()?;
        chunk.arena.push_tuple(2)?;
        chunk.arena.push_int(1)?;
        chunk.arena.push_str("é".as_bytes())?;
        let kwargs = chunk.arena.position()?;
        chunk.arena.push_dict(0)?;
        let template = Template {
            envelope: Envelope::Generic,
            embed: br#"{"chain": null}"#.to_vec(),
            route: 0,
        };
        chunk.templates.push(Arc::new(template));
        let body = Body::Plain {
            args,
            kwargs,
            embed: None,
        };
        chunk.members.push(Member {
            template: 0,
            index: 3,
            position: 3,
            args,
            kwargs,
            own_id: None,
            body,
        });
        Ok(chunk)
    }

    #[test]
    fn a_plain_message_carries_id_reprs_and_three_part_body() -> Result<()> {
        let chunk = chunk()?;
        let ids = Ids::new(Seed::new([1; 16]));
        let messages = chunk.plain_messages(&ids).collect::<Result<Vec<_>>>()?;
        let expected = PlainMessage {
            index: 3,
            position: 3,
            id: ids.text(3).into_bytes(),
            args_repr: "(1, 'é')".into(),
            kwargs_repr: b"{}".to_vec(),
            body: br#"[[1, "\u00e9"], {}, {"chain": null}]"#.to_vec(),
        };
        assert_eq!(messages, [expected]);
        Ok(())
    }

    #[test]
    fn a_member_that_cannot_be_encoded_is_named() -> Result<()> {
        let mut chunk = chunk()?;
        chunk.members[0].template = 9;
        let ids = Ids::new(Seed::new([1; 16]));
        let error = chunk.plain_messages(&ids).next();
        assert!(matches!(error, Some(Err(Error::Member { index: 3, .. }))));
        Ok(())
    }
}
