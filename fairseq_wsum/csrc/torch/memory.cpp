// Memory of tensors on the CPU that are freed stays with the process, for the next ones.
//
// torch takes every large tensor from the C library, which takes it from the system, and gives it
// back when the tensor is freed. In the next step of a training the system has to find the same
// pages again and fill them with zeros. Here they are kept, as torch itself does on GPUs.
//
// The one file that needs torch's headers, so it is a library of its own (see setup.py).
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <pthread.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

namespace {

constexpr size_t SMALL = size_t{1} << 16;  // bytes; the C library is good at less than that

struct Block {
    void* data;
    size_t size;
};

class KeepingAllocator final : public c10::Allocator {
   public:
    explicit KeepingAllocator(c10::Allocator* other) : other_(other) {}

    c10::DataPtr allocate(size_t bytes) override {
        if (bytes < SMALL) return other_->allocate(bytes);
        void* data = take(rounded(bytes));
        c10::profiledCPUMemoryReporter().New(data, bytes);
        return {data, data, raw_deleter(), c10::Device(c10::DeviceType::CPU)};
    }

    c10::DeleterFnPtr raw_deleter() const override;

    void copy_data(void* to, const void* from, size_t bytes) const override {
        default_copy_data(to, from, bytes);
    }

    void free(void* data) {
        if (give_back(data)) return;
        other_->raw_deleter()(data);  // small, or from the time before
    }

    // In bytes: of tensors, of what is kept for others, and the most that tensors have had.
    void count(int64_t* used, int64_t* kept, int64_t* peak) {
        const std::lock_guard<std::mutex> guard(mutex_);
        *used = static_cast<int64_t>(used_);
        *kept = static_cast<int64_t>(kept_);
        *peak = static_cast<int64_t>(peak_);
    }

    // For fork(): no other thread must be within while the process is copied.
    std::mutex& mutex() { return mutex_; }

   private:
    using Blocks = std::list<Block>;  // of those that are kept, the one freed first at the front

    // Sizes of two batches are seldom the same, and often near to each other: eight sizes for each
    // power of two. What is more than asked for is never touched.
    static size_t rounded(size_t bytes) {
        size_t step = SMALL / 8;
        while (step * 16 <= bytes) step *= 2;
        return (bytes + step - 1) / step * step;
    }

    // May throw what torch throws where there is no memory.
    void* take(size_t size) {
        const std::lock_guard<std::mutex> guard(mutex_);
        const auto found = by_size_.lower_bound(size);
        Block block{nullptr, size};
        if (found != by_size_.end() && found->first <= size + size / 4) {
            block = *found->second;
            forget(found);
        } else {
            // never more than a quarter above what the tensors themselves have needed
            const size_t peak = std::max(peak_, used_ + size);
            while (kept_ && used_ + size + kept_ > peak + peak / 4) release_oldest();
            block.data = from_system(size);
        }
        in_use_.emplace(block.data, block.size);
        used_ += block.size;
        peak_ = std::max(peak_, used_);
        return block.data;
    }

    void* from_system(size_t size) {
        try {
            return c10::alloc_cpu(size);
        } catch (...) {
            if (!kept_) throw;
            while (kept_) release_oldest();
            return c10::alloc_cpu(size);
        }
    }

    bool give_back(void* data) {
        const std::lock_guard<std::mutex> guard(mutex_);
        const auto found = in_use_.find(data);
        if (found == in_use_.end()) return false;
        c10::profiledCPUMemoryReporter().Delete(data);
        const Block block{data, found->second};
        in_use_.erase(found);
        used_ -= block.size;
        kept_ += block.size;
        by_age_.push_back(block);
        by_size_.emplace(block.size, std::prev(by_age_.end()));
        return true;
    }

    void release_oldest() {
        const Block oldest = by_age_.front();
        auto found = by_size_.lower_bound(oldest.size);
        while (found->second != by_age_.begin()) ++found;
        forget(found);
        c10::free_cpu(oldest.data);
    }

    void forget(std::multimap<size_t, Blocks::iterator>::iterator place) {
        kept_ -= place->first;
        by_age_.erase(place->second);
        by_size_.erase(place);
    }

    c10::Allocator* const other_;
    std::mutex mutex_;
    std::unordered_map<void*, size_t> in_use_;
    Blocks by_age_;
    std::multimap<size_t, Blocks::iterator> by_size_;
    size_t used_ = 0, kept_ = 0, peak_ = 0;
};

KeepingAllocator* allocator = nullptr;  // never deleted: tensors may outlive everything else

void free_memory(void* data) { allocator->free(data); }

c10::DeleterFnPtr KeepingAllocator::raw_deleter() const { return &free_memory; }

}  // namespace

extern "C" {

// The torch that this was built for. It serves no other.
const char* wsum_memory_torch() { return WSUM_TORCH; }

// From now on, for good. Not to be called by two threads at the same time.
void wsum_memory_keep() {
    if (allocator) return;
    allocator = new KeepingAllocator(c10::GetCPUAllocator());
    pthread_atfork([] { allocator->mutex().lock(); }, [] { allocator->mutex().unlock(); },
                   [] { allocator->mutex().unlock(); });
    c10::SetCPUAllocator(allocator);
}

void wsum_memory_count(int64_t* used, int64_t* kept, int64_t* peak) {
    *used = *kept = *peak = 0;
    if (allocator) allocator->count(used, kept, peak);
}
}
