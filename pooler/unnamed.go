package pooler

// unnamed is a client's statement without a name. PostgreSQL keeps it until the next Parse without a name or simple query,
// across transactions; so its text is kept, for the servers that later transactions get.
type unnamed struct {
	text []byte // body of the last Parse; nil if there is none, or its text is not known
	gen  uint64 // tells it from earlier and later ones

	// What it was before the oldest Parse that has not been answered, for when the server skips all of them.
	old     []byte
	oldGen  uint64
	count   uint64 // of the Parses so far
	pending int    // how many of them have not been answered
}

// parse notes a Parse without a name, and returns which one it is.
func (u *unnamed) parse(body []byte, whole bool) (gen uint64) {
	if u.pending == 0 {
		u.old, u.text = u.text, u.old
		u.oldGen = u.gen
	}
	u.pending++
	u.count++
	u.gen = u.count
	if whole && len(body) <= maxUnnamed {
		u.text = append(u.text[:0], body...)
	} else {
		u.text = nil
	}
	return u.gen
}

// forget notes that there is none.
func (u *unnamed) forget() {
	if u.count == 0 {
		return // there never was
	}
	u.count++
	u.text, u.gen = nil, u.count
	u.old, u.oldGen = nil, 0
}

// parsed notes that the server has carried out a Parse.
func (u *unnamed) parsed(gen uint64) {
	u.pending--
	if gen != u.gen || cap(u.old) > keptText {
		u.old, u.oldGen = nil, 0 // what was before the next one is this one, whose text is not known any more
	}
}

// keptText is how much memory stays for the text of the next Parse, in bytes.
const keptText = 4 << 10

// skipped notes that the server has not carried out a Parse. Of several the newest is undone first. What was before is there
// again, unless one that was carried out came between: then nobody knows its text.
func (u *unnamed) skipped(gen uint64) {
	u.pending--
	if gen != u.gen && u.gen != 0 {
		return
	}
	u.gen = 0 // undone down to here
	if u.pending == 0 {
		u.text, u.old = u.old, u.text
		u.gen, u.oldGen = u.oldGen, 0
	}
}

// failed notes, after skipped, that the first Parse that was skipped was refused. That has dropped what was there before.
func (u *unnamed) failed() {
	if u.pending == 0 {
		u.forget()
	} else { // a later one is still to come
		u.old, u.oldGen = nil, 0
	}
}
