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
	again   int    // how many of ours have not, that send its text to another server
	region  uint64 // the pipeline region (from Sync to Sync) of the last of all these

	// What came between that one and the last, as far as it takes no more than maxUnnamed bytes: it is what is left when the server carries it out
	// and skips what comes behind it.
	between ring[unnamedText]
	buf     []byte // of its texts
}

type unnamedText struct {
	body []byte
	gen  uint64
}

// parse notes a Parse without a name, or a Close of it, which has no body, and returns which one it is.
func (u *unnamed) parse(body []byte, whole bool) (gen uint64) {
	if u.pending == 0 {
		u.old, u.text = u.text, u.old
		u.oldGen = u.gen
	} else {
		u.keep()
	}
	u.pending++
	u.count++
	u.gen = u.count
	if whole && len(body) > 0 && len(body) <= maxUnnamed {
		u.text = append(u.text[:0], body...)
	} else {
		u.text = nil
	}
	return u.gen
}

// unsettled reports whether what the server has may still turn out to be something else, of another client even: an error would make it skip the
// last Parse, but not a Bind in a later region.
func (u *unnamed) unsettled(region uint64) bool { return u.pending+u.again > 0 && u.region < region }

// keep moves the last one, which has not been answered, to those between.
func (u *unnamed) keep() {
	if len(u.buf)+len(u.text) > maxUnnamed {
		u.between.clear()
	}
	if u.between.n == 0 {
		u.buf = u.buf[:0]
	}
	if u.text != nil {
		at := len(u.buf)
		u.buf = append(u.buf, u.text...)
		u.between.push(unnamedText{u.buf[at:], u.gen})
	}
}

// forget notes that there is none.
func (u *unnamed) forget() {
	if u.count == 0 {
		return // there never was
	}
	u.count++
	u.text, u.gen = nil, u.count
	u.old, u.oldGen = nil, 0
	if u.between.n > 0 {
		u.between.clear()
	}
}

// parsed notes that the server has carried out a Parse.
func (u *unnamed) parsed(gen uint64) {
	u.pending--
	switch {
	case u.between.n > 0 && u.between.at(0).gen == gen: // it is what was before the next one
		u.old, u.oldGen = append(u.old[:0], u.between.pop().body...), gen
		if u.between.n == 0 && cap(u.buf) > keptText {
			u.buf = nil
		}
	case gen != u.gen || cap(u.old) > keptText:
		u.old, u.oldGen = nil, 0 // so is this, but its text is not known any more
	}
}

// keptText is how much memory stays for the text of the next Parse, in bytes.
const keptText = 4 << 10

// sentAgain notes that a Parse of ours has been carried out or skipped. It is one of the unnamed statement if it has a gen.
func (u *unnamed) sentAgain(gen uint64) {
	if gen != 0 {
		u.again--
	}
}

// skipped notes that the server has not carried out a Parse. Of several the newest is undone first. What was before is there
// again.
func (u *unnamed) skipped(gen uint64) {
	u.pending--
	for i := u.between.n - 1; i >= 0 && u.between.at(i).gen >= gen; i-- {
		if u.between.at(i).gen == gen {
			u.between.remove(i)
		}
	}
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
