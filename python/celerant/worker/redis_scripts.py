"""Scripts that Redis runs in one step for a worker.

kombu has two keys: ``unacked`` is a hash of ``[message, exchange, routing key]`` by
tag, and ``unacked_index`` has the time at which each message was taken. The script that
takes a message notes it there in the same step, so a lost worker loses no message. Any
other worker, a stock one too, puts back messages that were noted longer ago than
``visibility_timeout``.

Source: ``kombu.transport.redis.QoS`` of kombu 5.7.0.
"""

from __future__ import annotations

__all__ = ["GIVE_BACK", "PROBE", "TAKE"]

#: Takes messages in kombu's order.
#:
#: KEYS: the hash, the index, and the lists: those of all queues for the first priority
#: step, then those for the next.
#: ARGV: the time; the prefix of tags; the number before the first tag's; the most
#: messages; the bytes after which no more are taken; 1 if queues take turns; then for
#: each queue the end of its messages' notes.
#: Returns nothing, or three texts: the indexes of the messages' queues and the lengths
#: of the messages, both separated by commas, and the messages as one JSON array.
TAKE = """
local now, prefix, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most, room, turns = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local queues = #ARGV - 6
local steps = (#KEYS - 2) / queues
local order, empty = {}, {}
for at = 1, queues do order[at] = at end
local function pop(count)
  for step = 0, steps - 1 do
    for at = 1, queues do
      local place = order[at]
      local key = step * queues + place + 2
      if not empty[key] then
        local many = redis.call('RPOP', KEYS[key], count)
        if many then
          if turns then
            table.remove(order, at)
            order[queues] = place
          end
          return many, place
        end
        empty[key] = true
      end
    end
  end
end
local found, places, lengths, index, notes = {}, {}, {}, {}, {}
local taken, size, longest = 0, 0, 0
local function add(raw, place)
  taken = taken + 1
  size = size + #raw
  if #raw > longest then longest = #raw end
  found[taken], places[taken], lengths[taken] = raw, place, #raw
  -- A restoring worker would fail at a text that is no object: it is not noted.
  if string.sub(raw, 1, 1) == '{' and string.sub(raw, -1) == '}' then
    local tag = prefix .. string.format('%.0f', number + taken)
    index[#index + 1] = now
    index[#index + 1] = tag
    notes[#notes + 1] = tag
    notes[#notes + 1] = '[' .. raw .. ARGV[place + 6]
  end
end
while taken < most and size < room do
  local count = 1
  -- Many at a time, once it is known how long they are.
  if longest > 0 and (queues == 1 or not turns) then
    count = math.min(most - taken, math.floor((room - size) / longest) + 1)
  end
  local many, place = pop(count)
  if not many then break end
  for _, raw in ipairs(many) do add(raw, place) end
end
if taken == 0 then return false end
if #index > 0 then
  redis.call('ZADD', KEYS[2], unpack(index))
  redis.call('HSET', KEYS[1], unpack(notes))
end
return {table.concat(places, ','), table.concat(lengths, ','),
        '[' .. table.concat(found, ',') .. ']'}
"""

#: Puts back those messages that are still noted.
#:
#: KEYS: the hash, the index, the list of each message.
#: ARGV: RPUSH, to have them taken next, or LPUSH, to have them taken last; then the
#: tag and the envelope of each message.
GIVE_BACK = """
local back = 0
for at = 3, #KEYS do
  local tag = ARGV[at * 2 - 4]
  if redis.call('HDEL', KEYS[1], tag) == 1 then
    redis.call('ZREM', KEYS[2], tag)
    redis.call(ARGV[1], KEYS[at], ARGV[at * 2 - 3])
    back = back + 1
  end
end
return back
"""

#: Raises if the user may not run the commands of the other scripts.
#:
#: KEYS: the hash, the index.
#: ARGV: a tag that no message has.
PROBE = """
redis.call('ZADD', KEYS[2], '0', ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], '')
local refusal
for _, command in ipairs({{'RPOP', KEYS[2], '1'}, {'RPUSH', KEYS[2], ''},
                          {'LPUSH', KEYS[2], ''}}) do
  -- The index is no list, so a user who may run the command gets WRONGTYPE.
  local answer = redis.pcall(unpack(command))
  if not string.find(answer.err, 'WRONGTYPE', 1, true) then refusal = answer end
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return refusal or 1
"""
