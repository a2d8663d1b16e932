/* The files of the control folders, BUCKET/.bucketfs/ and MOUNT/.bucketfs/, as open files. */
#pragma once

#include "fuse/frontend.h"

struct control_handle;

/* The name of a node in the control folder that the call is in; NULL: there is none. */
const char *control_file_name(const struct call *c, uint64_t node);
int control_file_lookup(struct call *c, struct slice name, struct attr *attr);
int control_file_attr(struct call *c, struct attr *attr);
int control_file_remove(struct call *c, const char *name);
/* Whether the caller may write it. */
int control_file_check(struct call *c);

/* .bucketfs/tx/ (bucket/transaction.h). */
int control_tx_lookup(struct call *c, struct slice name, struct attr *attr);
int control_tx_mkdir(struct call *c, const char *name, struct attr *attr);
/* rename of tx/NAME to commit; replies, from another thread. */
void control_tx_commit(fuse_req_t req, fuse_ino_t parent, const char *name);

/* Opens, or with a name creates; replies, from the thread that may ask the name service. */
void control_file_open(fuse_req_t req, fuse_ino_t inode, const char *create, const struct fuse_file_info *fi);
void control_file_read(fuse_req_t req, struct control_handle *h, uint64_t at, size_t size);
int control_file_write(struct control_handle *h, uint64_t at, bool append, struct slice bytes, struct reason *why);
int control_file_truncate(struct control_handle *h, uint64_t size, struct reason *why);
int control_file_flush(struct call *c, struct control_handle *h);
void control_file_close(struct control_handle *h);

/* about.c: what the root's files hold. */
int about_text(struct frontend *fe, const struct caller *who, uint64_t node, struct buf *out);
