-- Wireshark dissector for Pitlane's order entry over UDP: MoldUDP64 both ways, control datagrams with SoupBinTCP bodies, OUCH 5.0
-- messages in the blocks. Not for market data: Wireshark's own moldudp64 and itch dissectors read that.
-- A capture on the sending host may show several datagrams to one client as one (UDP_SEGMENT): set network.udp_offload = false there.
-- Install: copy to the personal Lua plugin folder, or `tshark -X lua_script:pitlane.lua`. Ports: preferences, default 26400-26463.

local pitlane = Proto("pitlane", "Pitlane order entry")

local kinds = {
  [0] = "data", [1] = "heartbeat", [2] = "acknowledgement", [3] = "request", [4] = "end of session", [5] = "control",
}
local f = {
  session = ProtoField.string("pitlane.session", "Session"),
  direction = ProtoField.string("pitlane.stream", "Stream"),
  sequence = ProtoField.uint64("pitlane.sequence", "Sequence"),
  count = ProtoField.uint16("pitlane.count", "Count"),
  kind = ProtoField.uint8("pitlane.kind", "Kind", base.DEC, kinds),
  block = ProtoField.none("pitlane.message", "Message"),
  number = ProtoField.uint64("pitlane.message.sequence", "Message sequence"),
  length = ProtoField.uint16("pitlane.message.length", "Length"),
  type = ProtoField.string("pitlane.message.type", "Type"),
  name = ProtoField.string("pitlane.message.name", "Name"),
  malformed = ProtoField.string("pitlane.malformed", "Malformed"),
  control = ProtoField.string("pitlane.control", "Control"),
  username = ProtoField.string("pitlane.login.username", "User name"),
  requested_session = ProtoField.string("pitlane.login.requested_session", "Requested session"),
  requested_sequence = ProtoField.string("pitlane.login.requested_sequence", "Requested sequence"),
  cookie = ProtoField.bytes("pitlane.login.cookie", "Cookie"),
  reason = ProtoField.string("pitlane.login.reject_reason", "Reject reason"),
  appendage_length = ProtoField.uint16("pitlane.appendage.length", "Appendage length"),
  tag = ProtoField.uint8("pitlane.appendage.tag", "Tag"),
  value = ProtoField.bytes("pitlane.appendage.value", "Value"),
}

-- OUCH 5.0 tables: offset, width, name, how to show it (u: integer, p: price of 4 decimals, a: alpha). Fixed part without AppendageLength.
local inbound = {
  O = { "Enter Order", 45, { { 1, 4, "user_ref_num", "u" }, { 5, 1, "side", "a" }, { 6, 4, "quantity", "u" }, { 10, 8, "symbol", "a" },
    { 18, 8, "price", "p" }, { 26, 1, "time_in_force", "a" }, { 27, 1, "display", "a" }, { 28, 1, "capacity", "a" },
    { 29, 1, "inter_market_sweep", "a" }, { 30, 1, "cross_type", "a" }, { 31, 14, "cl_ord_id", "a" } } },
  U = { "Replace Order Request", 38, { { 1, 4, "orig_user_ref_num", "u" }, { 5, 4, "user_ref_num", "u" }, { 9, 4, "quantity", "u" },
    { 13, 8, "price", "p" }, { 21, 1, "time_in_force", "a" }, { 22, 1, "display", "a" }, { 23, 1, "inter_market_sweep", "a" },
    { 24, 14, "cl_ord_id", "a" } } },
  X = { "Cancel Order Request", 9, { { 1, 4, "user_ref_num", "u" }, { 5, 4, "quantity", "u" } } },
  M = { "Modify Order Request", 10, { { 1, 4, "user_ref_num", "u" }, { 5, 1, "side", "a" }, { 6, 4, "quantity", "u" } } },
  C = { "Mass Cancel Request", 17, { { 1, 4, "user_ref_num", "u" }, { 5, 4, "firm", "a" }, { 9, 8, "symbol", "a" } } },
  D = { "Disable Order Entry Request", 9, { { 1, 4, "user_ref_num", "u" }, { 5, 4, "firm", "a" } } },
  E = { "Enable Order Entry Request", 9, { { 1, 4, "user_ref_num", "u" }, { 5, 4, "firm", "a" } } },
  Q = { "Account Query Request", 1, {} },
}
local outbound = {
  S = { "System Event", 10, { { 1, 8, "timestamp", "u" }, { 9, 1, "event_code", "a" } } },
  A = { "Order Accepted", 62, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 1, "side", "a" }, { 14, 4, "quantity", "u" },
    { 18, 8, "symbol", "a" }, { 26, 8, "price", "p" }, { 34, 1, "time_in_force", "a" }, { 35, 1, "display", "a" },
    { 36, 8, "order_reference_number", "u" }, { 44, 1, "capacity", "a" }, { 45, 1, "inter_market_sweep", "a" },
    { 46, 1, "cross_type", "a" }, { 47, 1, "order_state", "a" }, { 48, 14, "cl_ord_id", "a" } } },
  U = { "Order Replaced", 66, { { 1, 8, "timestamp", "u" }, { 9, 4, "orig_user_ref_num", "u" }, { 13, 4, "user_ref_num", "u" },
    { 17, 1, "side", "a" }, { 18, 4, "quantity", "u" }, { 22, 8, "symbol", "a" }, { 30, 8, "price", "p" }, { 38, 1, "time_in_force", "a" },
    { 39, 1, "display", "a" }, { 40, 8, "order_reference_number", "u" }, { 48, 1, "capacity", "a" }, { 49, 1, "inter_market_sweep", "a" },
    { 50, 1, "cross_type", "a" }, { 51, 1, "order_state", "a" }, { 52, 14, "cl_ord_id", "a" } } },
  C = { "Order Canceled", 18, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 4, "quantity", "u" }, { 17, 1, "reason", "a" } } },
  D = { "AIQ Canceled", 32, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 4, "decrement_shares", "u" }, { 17, 1, "reason", "a" },
    { 18, 4, "quantity_prevented_from_trading", "u" }, { 22, 8, "execution_price", "p" }, { 30, 1, "liquidity_flag", "a" },
    { 31, 1, "aiq_strategy", "a" } } },
  E = { "Order Executed", 34, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 4, "quantity", "u" }, { 17, 8, "price", "p" },
    { 25, 1, "liquidity_flag", "a" }, { 26, 8, "match_number", "u" } } },
  B = { "Broken Trade", 36, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 8, "match_number", "u" }, { 21, 1, "reason", "a" },
    { 22, 14, "cl_ord_id", "a" } } },
  J = { "Rejected", 29, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 2, "reject_reason", "u" }, { 15, 14, "cl_ord_id", "a" } } },
  P = { "Cancel Pending", 13, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" } } },
  I = { "Cancel Reject", 13, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" } } },
  T = { "Order Priority Update", 30, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 8, "price", "p" }, { 21, 1, "display", "a" },
    { 22, 8, "order_reference_number", "u" } } },
  M = { "Order Modified", 18, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 1, "side", "a" }, { 14, 4, "quantity", "u" } } },
  R = { "Order Restated", 14, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 1, "reason", "a" } } },
  X = { "Mass Cancel Response", 25, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 4, "firm", "a" }, { 17, 8, "symbol", "a" } } },
  G = { "Disable Order Entry Response", 17, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 4, "firm", "a" } } },
  K = { "Enable Order Entry Response", 17, { { 1, 8, "timestamp", "u" }, { 9, 4, "user_ref_num", "u" }, { 13, 4, "firm", "a" } } },
  Q = { "Account Query Response", 13, { { 1, 8, "timestamp", "u" }, { 9, 4, "next_user_ref_num", "u" } } },
}

-- A field for each name and way to show it, registered once.
local ouch = {}
for _, tables in ipairs({ inbound, outbound }) do
  for _, message in pairs(tables) do
    for _, row in ipairs(message[3]) do
      local name, shown = row[3], row[4]
      if not ouch[name] then
        local abbreviation = "pitlane.ouch." .. name
        if shown == "u" then
          ouch[name] = ProtoField.uint64(abbreviation, name)
        else
          ouch[name] = ProtoField.string(abbreviation, name)
        end
      end
    end
  end
end
pitlane.fields = {}
local fields = {}
for _, field in pairs(f) do table.insert(fields, field) end
for _, field in pairs(ouch) do table.insert(fields, field) end
pitlane.fields = fields

local bad = ProtoExpert.new("pitlane.malformed.expert", "Malformed order-entry datagram", expert.group.MALFORMED, expert.severity.ERROR)
pitlane.experts = { bad }
pitlane.prefs.ports = Pref.range("UDP ports", "26400-26463", "Ports of the shards", 65535)

local function complain(tree, range, text)
  tree:add(f.malformed, range, text)
  tree:add_proto_expert_info(bad, text)
end

local function add_appendage(tree, range)
  if range:len() < 2 then return false end
  local length = range(0, 2):uint()
  tree:add(f.appendage_length, range(0, 2))
  if length ~= range:len() - 2 then return false end
  local at = 2
  while at < range:len() do
    local size = range(at, 1):uint()
    if size < 1 or at + 1 + size > range:len() then return false end
    tree:add(f.tag, range(at + 1, 1))
    if size > 1 then tree:add(f.value, range(at + 2, size - 1)) end
    at = at + 1 + size
  end
  return true
end

local function add_message(tree, range, tables)
  if range:len() == 0 then return "empty" end
  local letter = range(0, 1):string()
  local message = tables[letter]
  tree:add(f.type, range(0, 1), letter)
  if not message then
    complain(tree, range, "unknown message type")
    return letter .. "?"
  end
  tree:add(f.name, range(0, 1), message[1]):set_generated()
  if range:len() < message[2] then
    complain(tree, range, "too short for " .. message[1])
    return message[1]
  end
  for _, row in ipairs(message[3]) do
    local part = range(row[1], row[2])
    if row[4] == "u" then
      local value = row[2] == 8 and part:uint64() or UInt64(part:uint())
      tree:add(ouch[row[3]], part, value)
    elseif row[4] == "p" then
      tree:add(ouch[row[3]], part, string.format("%.4f", part:uint64():tonumber() / 10000))
    else
      tree:add(ouch[row[3]], part, part:string())
    end
  end
  if range:len() > message[2] and not add_appendage(tree, range(message[2], range:len() - message[2])) then
    complain(tree, range, "appendage does not add up")
  end
  return message[1]
end

local control_names = {
  L = "Login Request", A = "Login Accepted", J = "Login Rejected", O = "Logout Request", Z = "End of Session",
  C = "Challenge", H = "Server Heartbeat", R = "Client Heartbeat", ["+"] = "Debug",
}

local function add_control(tree, range)
  local letter = range(0, 1):string()
  local name = control_names[letter]
  if not name then
    complain(tree, range, "unknown control packet")
    return letter .. "?"
  end
  tree:add(f.control, range(0, 1), name)
  if letter == "L" and (range:len() == 47 or range:len() == 63) then
    tree:add(f.username, range(1, 6))
    -- The password is not shown.
    tree:add(f.requested_session, range(17, 10))
    tree:add(f.requested_sequence, range(27, 20))
    if range:len() == 63 then tree:add(f.cookie, range(47, 16)) end
  elseif letter == "C" and range:len() == 17 then
    tree:add(f.cookie, range(1, 16))
  elseif (letter == "O" or letter == "Z") and range:len() == 11 then
    tree:add(f.requested_session, range(1, 10))
  elseif letter == "O" and range:len() == 1 then
    complain(tree, range, "Logout Request without a session: it ends none")
  elseif letter == "A" and range:len() == 31 then
    tree:add(f.requested_session, range(1, 10))
    tree:add(f.requested_sequence, range(11, 20))
  elseif letter == "J" and range:len() == 2 then
    tree:add(f.reason, range(1, 1))
  elseif ("LAJCOZ"):find(letter, 1, true) then
    complain(tree, range, name .. " of a wrong length")
  end
  return name
end

-- A header alone is a heartbeat of the sender's stream, an acknowledgement of the peer's (count 0), or a request for the peer's.
-- Which stream is whose: U... is the client's, D... the engine's; the engine has the configured port.
local function kind_of(pinfo, session, count, length)
  if session == string.rep(" ", 10) then return 5 end
  local from_engine = false
  for port in tostring(pitlane.prefs.ports):gmatch("%d+") do
    if tonumber(port) == pinfo.src_port then from_engine = true end
  end
  local first, last = tostring(pitlane.prefs.ports):match("(%d+)%-(%d+)")
  if first and pinfo.src_port >= tonumber(first) and pinfo.src_port <= tonumber(last) then from_engine = true end
  local own = (session:sub(1, 1) == "D") == from_engine
  if count == 0xFFFF then return 4 end
  if length == 20 and not own then return count == 0 and 2 or 3 end
  return count == 0 and 1 or 0
end

local market_data = Dissector.get("moldudp64")

function pitlane.dissector(buffer, pinfo, root)
  local length = buffer:len()
  -- A shard's feed leaves from the same port; its session is neither U..., nor D..., nor blank.
  if length >= 20 and not buffer(0, 1):string():match("[UD ]") then
    return market_data:call(buffer, pinfo, root)
  end
  pinfo.cols.protocol = "Pitlane"
  local tree = root:add(pitlane, buffer())
  if length < 20 then
    complain(tree, buffer(), "shorter than a MoldUDP64 header")
    return length
  end
  local session = buffer(0, 10):string()
  local count = buffer(18, 2):uint()
  tree:add(f.session, buffer(0, 10))
  tree:add(f.sequence, buffer(10, 8))
  tree:add(f.count, buffer(18, 2))
  local kind = kind_of(pinfo, session, count, length)
  tree:add(f.kind, kind):set_generated()
  local tables = session:sub(1, 1) == "D" and outbound or inbound
  if kind ~= 5 then
    tree:add(f.direction, buffer(0, 1), session:sub(1, 1) == "D" and "downstream" or "upstream")
  end
  local names = {}
  if kind == 0 or kind == 5 then
    local at, number = 20, buffer(10, 8):uint64()
    for _ = 1, count do
      if at + 2 > length or at + 2 + buffer(at, 2):uint() > length then
        complain(tree, buffer(20, length - 20), "blocks do not add up")
        break
      end
      local size = buffer(at, 2):uint()
      local block = tree:add(f.block, buffer(at, 2 + size))
      block:add(f.length, buffer(at, 2))
      if size > 0 then
        local range = buffer(at + 2, size)
        if kind == 5 then
          table.insert(names, add_control(block, range))
        else
          block:add(f.number, buffer(10, 8), number):set_generated()
          table.insert(names, add_message(block, range, tables))
        end
      end
      at, number = at + 2 + size, number + 1
    end
    if at < length and #names == count then
      complain(tree, buffer(at, length - at), "bytes after the last block")
    end
  end
  local info = string.format("%s %s %s", kinds[kind], session, tostring(buffer(10, 8):uint64()))
  if #names > 0 then info = info .. ": " .. table.concat(names, ", ") end
  pinfo.cols.info = info
  return length
end

local registered = nil
local function register(range)
  local ports = DissectorTable.get("udp.port")
  if registered then ports:remove(registered, pitlane) end
  ports:add(range, pitlane)
  registered = range
end

function pitlane.prefs_changed()
  register(tostring(pitlane.prefs.ports))
end
register("26400-26463")
