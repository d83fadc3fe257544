//! Chunks as the bytes of a broker's protocol, and deliveries out of such bytes.

pub mod amqp;
pub mod deliveries;
pub mod redis;
