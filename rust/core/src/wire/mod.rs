//! Chunks as the bytes of a broker's protocol.

pub mod amqp;
pub mod redis;
