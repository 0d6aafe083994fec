"""Names of the codes that OUCH answers with: reject reasons and cancel reasons. The values are those of the engine's own table."""

REJECT_REASONS = {
    0x0001: "Quote Unavailable",
    0x0002: "Destination Closed",
    0x0003: "Invalid Display",
    0x0004: "Invalid Max Floor",
    0x0005: "Invalid Peg Type",
    0x0006: "Fat Finger",
    0x0007: "Halted",
    0x0008: "ISO Not Allowed",
    0x0009: "Invalid Side",
    0x000a: "Processing Error",
    0x000b: "Cancel Pending",
    0x000c: "Firm Not Authorized",
    0x000d: "Invalid Min Quantity",
    0x000e: "No Closing Reference Price",
    0x000f: "Other",
    0x0010: "Cancel Not Allowed",
    0x0011: "Pegging Not Allowed",
    0x0012: "Crossed Market",
    0x0013: "Invalid Quantity",
    0x0014: "Invalid Cross Order",
    0x0015: "Replace Not Allowed",
    0x0016: "Routing Not Allowed",
    0x0017: "Invalid Symbol",
    0x0018: "Test",
    0x0019: "Late LOC Too Aggressive",
    0x001a: "Retail Not Allowed",
    0x001b: "Invalid Midpoint Post Only Price",
    0x001c: "Invalid Destination",
    0x001d: "Invalid Price",
    0x001e: "Shares Exceed Threshold",
    0x001f: "Exceeds Maximum Allowed Notional Value",
    0x0020: "Risk: Aggregate Exposure Exceeded",
    0x0021: "Risk: Market Impact",
    0x0022: "Risk: Restricted Stock",
    0x0023: "Risk: Short Sell Restricted",
    0x0024: "Risk: ISO Not Allowed",
    0x0025: "Risk: Exceeds ADV Limit",
    0x0026: "Risk: Fat Finger",
    0x0027: "Risk: Locate Required",
    0x0028: "Risk: Symbol Message Rate Restriction",
    0x0029: "Risk: Port Message Rate Restriction",
    0x002a: "Risk: Duplicate Message Rate Restriction",
    0x002b: "Risk: Short Sell Not Allowed",
    0x002c: "Risk: Market Order Not Allowed",
    0x002d: "Risk: Pre-Market Not Allowed",
    0x002e: "Risk: Post-Market Not Allowed",
    0x002f: "Risk: Short Sell Exempt Not Allowed",
    0x0030: "Risk: Single Order Notional Exceeded",
    0x0031: "Risk: Max Quantity Exceeded",
    0x0032: "Reg SHO State Not Available",
    0x0033: "Risk: IPO Market Buy Not Allowed",
    0x0040: "Invalid AIQ (revision 1.05)",
}

CANCEL_REASONS = {
    "D": "Regulatory restriction",
    "E": "Closed",
    "F": "Post-only, would have slid (NMS)",
    "G": "Post-only, contra is displayed",
    "H": "Halted",
    "I": "Immediate or cancel",
    "K": "Market collars",
    "Q": "Self-match prevention",
    "S": "Supervisory",
    "T": "Timeout",
    "U": "User",
    "X": "Open protection",
    "Z": "System",
    "e": "DLCR shares exceeded",
}


def reject_reason(code: int) -> str:
    """What a Rejected's `reason` means: `Invalid Symbol (0x0017)`. A code that OUCH does not list is said to be unknown."""
    return f"{REJECT_REASONS.get(code, 'Unknown')} ({code:#06x})"


def cancel_reason(code: str) -> str:
    """What a Canceled's `reason` means."""
    return f"{CANCEL_REASONS.get(code, 'Unknown')} ({code})"
